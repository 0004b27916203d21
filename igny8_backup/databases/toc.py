"""An observer: the table of contents of a custom-format archive, checked by ``pg_restore --list`` in flight.

``pg_restore`` is fed a copy and not wired to ``pg_dump`` itself: it stops reading after the table of
contents, and ``pg_dump`` would die of SIGPIPE.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from igny8_backup.errors import IntegrityError
from igny8_backup.streams import Blocks


def checked_toc(blocks: Blocks, pg_restore: Path) -> Blocks:
    """Passes ``blocks``; raises :class:`IntegrityError` at the end if ``pg_restore`` could not list them."""
    with subprocess.Popen(
        [str(pg_restore), "--list"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as child:
        stdin = child.stdin
        try:
            for block in blocks:
                if stdin is not None and not _offer(child, block):
                    stdin = None
                yield block
            _close(child)
            if child.wait() != 0:
                raise IntegrityError(
                    "pg_restore cannot list what pg_dump wrote.",
                    untouched="No backup was recorded.",
                    fix="Run the backup again; if it stays so, check CLIENT_BIN_DIR.",
                )
        finally:
            blocks.close()
            child.kill()
            _close(child)


def _offer(child: subprocess.Popen[bytes], block: bytes) -> bool:
    try:
        if child.stdin:
            child.stdin.write(block)
            child.stdin.flush()
    except BrokenPipeError:
        return False
    return True


def _close(child: subprocess.Popen[bytes]) -> None:
    try:
        if child.stdin:
            child.stdin.close()
    except BrokenPipeError:
        pass
