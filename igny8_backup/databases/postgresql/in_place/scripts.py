"""Convert entries of archives to SQL that ends without ``COMMIT``: :class:`Scripts`."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.databases.postgresql.client_access import client_environment
from igny8_backup.databases.postgresql.restore.archive.toc import Contents, Entry, joined, use_list
from igny8_backup.errors import ToolError, ToolTooOldError
from igny8_backup.streams import Blocks
from igny8_backup.streams.account import Account
from igny8_backup.streams.private_file import memory_file, private_file
from igny8_backup.streams.process import filtered, process_output

# The beginning and the end of a script of pg_restore --single-transaction. Since the minor releases of August
# 2025 scripts disable psql's own commands (\\restrict). Without that, a name in a dump could make psql run a
# program on this machine.
_BEGINNING = re.compile(rb"\A\s*--\n-- PostgreSQL database dump\n--\s+\\restrict \w+\n")
_END = re.compile(rb"\nCOMMIT;\n+--\n-- PostgreSQL database dump complete\n--\n+(\\unrestrict \w+\n)\s*\Z")
_HELD_BACK = 1024  # bytes, more than _END matches


@dataclass(frozen=True)
class Scripts:
    """Converts entries of archives to SQL, with the command ``convert``."""

    convert: tuple[str, ...]
    scratch: Path
    run_as: Account | None

    def of_archive(self, contents: Contents, blocks: Blocks, entries: Sequence[Entry]) -> Blocks:
        """Yield SQL that restores ``entries`` of an archive: ``contents``, then ``blocks``."""
        with closing(blocks):
            if not entries:
                deque(blocks, maxlen=0)  # only the end proves that the archive is unaltered
                return
            with private_file(self.scratch, use_list(entries), owner=self.run_as) as (file, path):
                script = filtered(
                    joined(contents, blocks),
                    [*self.convert, f"--use-list={path}"],
                    env=client_environment(),
                    pass_fds=[file.fileno()],
                    run_as=self.run_as,
                )
                yield from without_commit(script)

    def of_contents(self, contents: Contents, entries: Sequence[Entry]) -> Blocks:
        """Yield SQL that restores ``entries``, which have no rows, from the ``contents`` of an archive."""
        if not entries:
            return
        with (
            private_file(self.scratch, use_list(entries), owner=self.run_as) as (file, path),
            memory_file(contents.head, self.scratch, owner=self.run_as) as (fd, head),
        ):
            script = process_output(
                [*self.convert, f"--use-list={path}", head],
                env=client_environment(),
                pass_fds=[file.fileno(), fd],
                run_as=self.run_as,
            )
            yield from without_commit(script)


def without_commit(script: Blocks) -> Blocks:
    """Yield a script of ``pg_restore`` without its ``COMMIT``, so that checks can follow.

    Raises :class:`ToolTooOldError` if the script does not disable the backslash commands of psql (with
    ``\\restrict``), and ``ToolError`` if the script does not end with ``COMMIT``.
    """
    held = b""
    checked = False
    with closing(script):
        for block in script:
            held += block
            if len(held) > _HELD_BACK:
                checked = checked or _require_restricted(held)
                yield held[:-_HELD_BACK]
                held = held[-_HELD_BACK:]
    checked = checked or _require_restricted(held)
    end = _END.search(held)
    if end is None:
        raise ToolError(
            "The script of pg_restore does not end with COMMIT.",
            unchanged="Nothing was changed.",
            hint="Report this as a bug, with the version of pg_restore.",
        )
    yield held[: end.start() + 1] + end[1]


def _require_restricted(beginning: bytes) -> bool:
    """Raise :class:`ToolTooOldError` unless a script of ``pg_restore`` disables psql's own commands.

    ``beginning`` is the beginning of the script. Returns true if the commands are disabled.
    """
    if not _BEGINNING.match(beginning):
        raise ToolTooOldError(
            "This pg_restore writes scripts with which a dump could run programs on this machine.",
            unchanged="Nothing was changed.",
            hint="Install a minor release of the PostgreSQL client of August 2025 or later.",
        )
    return True
