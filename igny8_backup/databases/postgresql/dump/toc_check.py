"""Check the table of contents of an archive with ``pg_restore --list`` while the archive is streamed.

``pg_restore`` receives a copy of the stream. It must not be connected to ``pg_dump`` directly: it stops
reading after the table of contents, and SIGPIPE would then kill ``pg_dump``.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from igny8_backup.databases.postgresql.client_access import client_environment
from igny8_backup.errors import IntegrityError, ToolError
from igny8_backup.streams import Blocks
from igny8_backup.streams.child import Child


def checked_toc(blocks: Blocks, pg_restore: Path) -> Blocks:
    """Yield the archive ``blocks`` unchanged, and let ``pg_restore`` list it at the same time.

    Raises :class:`IntegrityError`, at the end of the stream at the latest, if ``pg_restore`` fails.
    """
    with closing(blocks):
        child = Child([str(pg_restore), "--list"], env=client_environment(), feed=True)
        with closing(child):
            reading = True
            for block in blocks:
                if reading and not child.write(block):
                    reading = False
                    _require_success(child)
                yield block
            if reading:
                child.close_stdin()
                _require_success(child)


def _require_success(child: Child) -> None:
    try:
        child.finish()
    except ToolError as error:
        raise IntegrityError(
            f"pg_restore cannot read the dump that pg_dump wrote: {error.what.rstrip('.')}.",
            unchanged="This dump is not in the backup.",
            hint="Run the backup again. If it fails again, check that pg_dump and pg_restore belong to the"
            " same PostgreSQL release (IGNY8_BACKUP['CLIENT_BIN_DIR'] is their folder).",
        ) from None
