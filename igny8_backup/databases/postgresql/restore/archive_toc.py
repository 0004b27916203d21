"""Read the table of contents of a custom-format archive, and select entries of it.

``pg_restore --list --verbose`` prints the number, kind, name and owner of each entry, and the numbers of the
entries on which it depends. ``pg_restore --use-list`` restores the entries with given numbers (PostgreSQL
docs, pg_restore).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from igny8_backup.databases.postgresql.client_access import client_environment
from igny8_backup.errors import IntegrityError, ToolError
from igny8_backup.streams import BLOCK, Blocks
from igny8_backup.streams.child import Child
from igny8_backup.streams.process import process_output

_ENTRY = re.compile(r"(?P<number>\d+); \d+ \d+ (?P<label>.*)")
_CREATED = re.compile(r"^; Archive created at (?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)", re.MULTILINE)
_NEEDS = re.compile(r";\tdepends on: (?P<numbers>[\d ]+)")
_UNIQUE = re.compile(
    rb"^-- TOC entry (?P<number>\d+) \(class \d+ OID \d+\)\n(?:-- .*\n)*--\n\n"
    rb"ALTER TABLE ONLY .*\n    ADD CONSTRAINT (?:\"(?:[^\"]|\"\")*\"|[^\s\"]+) (?:PRIMARY KEY|UNIQUE)\b",
    re.MULTILINE,
)
_EVENT_TRIGGER = re.compile(r"EVENT TRIGGER |(COMMENT|SECURITY LABEL) - EVENT TRIGGER ")


@dataclass(frozen=True)
class Entry:
    """An entry of an archive: its number, its label and the numbers of the entries on which it depends.

    The label consists of kind, schema, name and owner: ``TABLE public item igny8``. Names may contain spaces,
    so a label must not be split. To find a table, build its label and compare.
    """

    number: int
    label: str
    needs: frozenset[int]


def read_contents(blocks: Blocks, pg_restore: Path) -> tuple[list[bytes], tuple[Entry, ...]]:
    """Read the table of contents of an archive. Return the blocks that were consumed, and the entries.

    The blocks are needed to restore the archive later, see :func:`joined`. Raises :class:`IntegrityError` if
    ``pg_restore`` cannot list the archive.
    """
    head, listing = _list_head(blocks, pg_restore)
    return head, _parse(listing)


def read_time(blocks: Blocks, pg_restore: Path) -> datetime | None:
    """Return the time at which ``pg_dump`` began to write the archive; ``None`` if unknown.

    The archive records a local time; this package runs ``pg_dump`` in UTC. Raises as :func:`read_contents`.
    """
    match = _CREATED.search(_list_head(blocks, pg_restore)[1])
    return datetime.fromisoformat(match["time"]).replace(tzinfo=UTC) if match else None


def list_post_data(archive: str, pg_restore: Path, *, pass_fds: Collection[int] = ()) -> frozenset[int]:
    """Return the numbers of the entries in the section post-data of an archive.

    ``archive`` is the path with which a child process that inherits ``pass_fds`` opens the archive. The kind
    of an entry does not determine its section, because post-data may contain views and functions. Raises
    :class:`ToolError`.
    """
    argv = [str(pg_restore), "--list", "--section=post-data", archive]
    listing = b"".join(process_output(argv, env=client_environment(), pass_fds=pass_fds))
    return frozenset(entry.number for entry in _parse(listing.decode(errors="surrogateescape")))


def list_unique(archive: str, pg_restore: Path, *, pass_fds: Collection[int] = ()) -> frozenset[int]:
    """Return the numbers of the constraints that are primary or unique keys.

    The table of contents does not distinguish kinds of constraints, so this function reads their SQL.
    Arguments and errors are those of :func:`list_post_data`.
    """
    argv = [str(pg_restore), "--file=-", "--verbose", "--section=post-data", archive]
    output = b"".join(process_output(argv, env=client_environment(), pass_fds=pass_fds))
    return frozenset(int(match["number"]) for match in _UNIQUE.finditer(output))


def joined(head: Iterable[bytes], rest: Blocks) -> Blocks:
    """Yield a complete archive: the blocks ``head``, which :func:`read_contents` consumed, and the rest."""
    yield from head
    yield from rest


def use_list(entries: Iterable[Entry]) -> bytes:
    """Return the contents of a list file with which ``pg_restore --use-list`` restores ``entries``."""
    return "".join(f"{entry.number};\n" for entry in entries).encode()


def is_event_trigger(entry: Entry) -> bool:
    """Return whether ``entry`` is an event trigger, or a comment or security label on an event trigger."""
    return _EVENT_TRIGGER.match(entry.label) is not None


def _list_head(blocks: Blocks, pg_restore: Path) -> tuple[list[bytes], str]:
    head: list[bytes] = []
    output: list[bytes] = []
    env = {**client_environment(), "TZ": "UTC"}
    child = Child([str(pg_restore), "--list", "--verbose"], env=env, feed=True, read=True)
    with closing(child):
        for block in blocks:
            head.append(block)
            output += child.pump(block)
            if not child.reading:
                break
        child.close_stdin()
        while piece := child.read_block(BLOCK):
            output.append(piece)
        try:
            child.finish()
        except ToolError as error:
            raise IntegrityError(
                f"pg_restore cannot list the dump: {error.what}",
                unchanged="The live database was not changed.",
                hint="Choose another backup: list_backups.",
            ) from None
    return head, b"".join(output).decode(errors="surrogateescape")


def _parse(listing: str) -> tuple[Entry, ...]:
    found: list[Entry] = []
    for line in listing.splitlines():
        if match := _ENTRY.fullmatch(line):
            found.append(Entry(int(match["number"]), match["label"].rstrip(), frozenset()))
        elif found and (match := _NEEDS.fullmatch(line.rstrip())):
            needs = frozenset(map(int, match["numbers"].split()))
            found[-1] = Entry(found[-1].number, found[-1].label, needs)
    return tuple(found)
