"""The table of contents of a custom-format archive, and what of it a restore takes.

``pg_restore --list --verbose`` tells each entry's number, kind, name and owner, and which entries it needs
(PostgreSQL docs, pg_restore); ``--use-list`` takes the numbers of those wanted.
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

_ENTRY = re.compile(r"(?P<number>\d+); \d+ \d+ (?P<words>.*)")
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
    """One entry: its number in the archive, ``TABLE public item igny8`` and the numbers of what it needs.

    Names may hold spaces, so the words cannot be told apart; whoever knows a name can ask for it.
    """

    number: int
    words: str
    needs: frozenset[int]


def read_contents(blocks: Blocks, pg_restore: Path) -> tuple[list[bytes], tuple[Entry, ...]]:
    """Reads the head of an archive: the blocks that it took (the rest is still to come), and the entries.

    Raises :class:`IntegrityError` where it is no archive that ``pg_restore`` can list.
    """
    head, listing = _listed(blocks, pg_restore)
    return head, _parsed(listing)


def read_time(blocks: Blocks, pg_restore: Path) -> datetime | None:
    """When ``pg_dump`` began to write the archive, of which the head is read: by the clock of its machine,
    in the time zone that it had there, which for our dumps is UTC. ``None`` where it does not tell.

    Raises :class:`IntegrityError` as :func:`read_contents` does.
    """
    match = _CREATED.search(_listed(blocks, pg_restore)[1])
    return datetime.fromisoformat(match["time"]).replace(tzinfo=UTC) if match else None


def _listed(blocks: Blocks, pg_restore: Path) -> tuple[list[bytes], str]:
    head: list[bytes] = []
    listed: list[bytes] = []
    env = {**client_environment(), "TZ": "UTC"}
    child = Child([str(pg_restore), "--list", "--verbose"], env=env, feed=True, read=True)
    with closing(child):
        for block in blocks:
            head.append(block)
            listed += child.pump(block)
            if not child.reading:
                break
        child.close_stdin()
        while piece := child.read_block(BLOCK):
            listed.append(piece)
        try:
            child.finish()
        except ToolError as error:
            raise IntegrityError(
                f"pg_restore cannot list the dump: {error}",
                unchanged="The live database is as it was.",
                hint="Choose another backup: list_backups.",
            ) from None
    return head, b"".join(listed).decode(errors="surrogateescape")


def list_post_data(archive: str, pg_restore: Path, *, pass_fds: Collection[int] = ()) -> frozenset[int]:
    """The numbers of the entries that ``pg_restore`` counts to the section post-data, where the archive is a
    file: ``archive`` is the path by which a child that is given ``pass_fds`` opens it.

    A view or a function may be among them, so their kind does not tell. Raises :class:`ToolError`.
    """
    argv = [str(pg_restore), "--list", "--section=post-data", archive]
    listing = b"".join(process_output(argv, env=client_environment(), pass_fds=pass_fds))
    return frozenset(entry.number for entry in _parsed(listing.decode(errors="surrogateescape")))


def list_unique(archive: str, pg_restore: Path, *, pass_fds: Collection[int] = ()) -> frozenset[int]:
    """The numbers of the constraints that are primary keys or unique, by their SQL: the list does not tell.
    Otherwise as ``list_post_data``."""
    argv = [str(pg_restore), "--file=-", "--verbose", "--section=post-data", archive]
    output = b"".join(process_output(argv, env=client_environment(), pass_fds=pass_fds))
    return frozenset(int(match["number"]) for match in _UNIQUE.finditer(output))


def joined(head: Iterable[bytes], rest: Blocks) -> Blocks:
    """The blocks read ahead, then the others."""
    yield from head
    yield from rest


def use_list(entries: Iterable[Entry]) -> bytes:
    """What ``pg_restore --use-list`` takes."""
    return "".join(f"{entry.number};\n" for entry in entries).encode()


def is_event_trigger(entry: Entry) -> bool:
    """Whether it is an event trigger, or what is said of one."""
    return _EVENT_TRIGGER.match(entry.words) is not None


def _parsed(listing: str) -> tuple[Entry, ...]:
    found: list[Entry] = []
    for line in listing.splitlines():
        if match := _ENTRY.fullmatch(line):
            found.append(Entry(int(match["number"]), match["words"].rstrip(), frozenset()))
        elif found and (match := _NEEDS.fullmatch(line.rstrip())):
            needs = frozenset(map(int, match["numbers"].split()))
            found[-1] = Entry(found[-1].number, found[-1].words, needs)
    return tuple(found)
