"""An observer: the table of contents of a custom-format archive, checked by ``pg_restore --list`` in flight.

``pg_restore`` is fed a copy and not wired to ``pg_dump`` itself: it stops reading after the table of
contents, and ``pg_dump`` would die of SIGPIPE.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from igny8_backup.databases.postgresql.client_access import client_environment
from igny8_backup.errors import IntegrityError, ToolError
from igny8_backup.streams import Blocks
from igny8_backup.streams.child import Child


def checked_toc(blocks: Blocks, pg_restore: Path) -> Blocks:
    """Passes ``blocks``; raises :class:`IntegrityError`, at the end at the latest, if ``pg_restore`` cannot
    list them."""
    with closing(blocks):
        child = Child([str(pg_restore), "--list"], env=client_environment(), feed=True)
        with closing(child):
            listening = True
            for block in blocks:
                if listening and not child.write(block):
                    listening = False
                    _require_listed(child)
                yield block
            if listening:
                child.close_stdin()
                _require_listed(child)


def _require_listed(child: Child) -> None:
    try:
        child.finish()
    except ToolError as error:
        raise IntegrityError(
            f"pg_restore cannot list what pg_dump wrote: {error}",
            unchanged="No backup was recorded.",
            hint="Run the backup again; if it stays so, check CLIENT_BIN_DIR.",
        ) from None
