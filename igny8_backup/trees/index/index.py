"""The index of a tree: a sorted record for each file, folder and link, as JSON lines.

The first line is a header, the last a trailer with the number of records, so that a truncated index is
detected. Each line between them is one record: the root (path ``""``) first, then depth first in the order
of ``scan``. ``read`` trusts nothing: anyone who can write to the storage may have written the index.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from typing import IO, Any

from igny8_backup.streams import Blocks
from igny8_backup.trees.model.damage import damaged
from igny8_backup.trees.model.names import escape, order
from igny8_backup.trees.model.records import Record, from_json, from_plain_line, to_line

HEADER = {"format": "igny8_backup index", "version": 1}
LINE_LIMIT = 2 << 20
"""Bytes in a line, at most: the longest path, every byte escaped, and the most extended attributes."""

_BATCH_BYTES = 64 << 10
"""Bytes of lines that ``lines`` reads at a time, about."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class IndexWriter:
    """Writes an index into a file while the tree is walked.

    ``add`` each record, sorted, the root first; then ``finish``, without which the index is incomplete. The
    caller flushes and closes the file.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._count = 0
        file.write(_line(HEADER))

    def add(self, record: Record) -> None:
        """Append a record."""
        self.add_lines([to_line(record)])

    def add_lines(self, lines: list[bytes]) -> None:
        """Append lines of records, each with its newline."""
        self._file.write(b"".join(lines))
        self._count += len(lines)

    def finish(self) -> None:
        """Append the trailer."""
        self._file.write(_line({"records": self._count}))


def read(blocks: Blocks) -> Iterator[Record]:
    """Parse and check an index as it streams in.

    Raises ``IntegrityError`` where it is malformed or truncated: every path lies below the root, none comes
    twice, and each follows the record of its folder. Trust no record before the iterator has ended.
    """
    lines = _lines(blocks)
    if _parsed(next(lines, b"")) != HEADER:
        raise damaged("This is not an index that this release of igny8_backup can read.")
    last = b""
    folders: list[bytes] = []  # from the root down to the current one, each with its slash
    for count, line in enumerate(lines):
        record = from_plain_line(line)
        if record is None:
            fields = _parsed(line)
            if isinstance(fields, dict) and "records" in fields:
                if fields != {"records": count} or not folders or next(lines, None) is not None:
                    raise damaged("The index does not hold as many records as its last line says.")
                return
            record = from_json(fields)
        path = record.path
        place = order(path)
        if not folders:
            if path:
                raise damaged("The index does not begin with the root of its tree.")
        elif place <= last:
            raise damaged(f"The index is not sorted at {escape(path)[:200]!r}.")
        last = place
        while folders and not path.startswith(folders[-1]):
            folders.pop()
        if folders and b"/" in path[len(folders[-1]) :]:
            raise damaged(f"The index has no record of the folder of {escape(path)[:200]!r}.")
        if record.kind == "dir":
            folders.append(path + b"/" if path else b"")
        yield record
    raise damaged("The index ends before its last line.")


def lines(file: IO[bytes]) -> Generator[list[bytes], None, None]:
    """The lines of the records of a trusted index, some at a time, each with its newline, not parsed.

    Raises ``IntegrityError`` at the end of an index that is truncated. The caller closes the file.
    """
    if _parsed(file.readline()) != HEADER:
        raise damaged("This is not an index that this release of igny8_backup can read.")
    count = 0
    some = file.readlines(_BATCH_BYTES)
    while following := file.readlines(_BATCH_BYTES):
        count += len(some)
        yield some
        some = following
    trailer = some.pop() if some else b""
    count += len(some)
    yield some
    if not trailer.startswith(b'{"records":') or _parsed(trailer) != {"records": count}:
        raise damaged("The index ends before its last line.")


def _line(fields: dict[str, Any]) -> bytes:
    return _encode(fields).encode("utf-8") + b"\n"


def _lines(blocks: Blocks) -> Iterator[bytes]:
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
        if len(rest) > LINE_LIMIT:
            raise damaged("The index holds a line longer than any record.")
    if rest:
        raise damaged("The index ends in the middle of a line.")


def _parsed(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise damaged("The index holds a line that is not JSON.") from None
