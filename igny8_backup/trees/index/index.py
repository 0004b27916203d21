"""The index of a tree: a record for each file, folder and link, as sorted lines of JSON.

The first line is a header. The last line is a trailer with the number of records; it shows that the index is
not truncated. Each line between them is one record: the root (path ``""``) first, then depth first in the
order of ``scan``. ``read`` checks everything, because anyone who can write to the storage could have written
the index.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from typing import IO, Any

from igny8_backup.streams import Blocks
from igny8_backup.trees.model.damage import damaged
from igny8_backup.trees.model.names import escape, order
from igny8_backup.trees.model.records import Record, from_json, from_plain_line, to_line

HEADER = {"format": "igny8_backup index", "version": 2}
_READABLE = (HEADER, {**HEADER, "version": 1})
"""The headers that can be read. In version 1, all files have the same path in their pack as in the tree."""

LINE_LIMIT = 3 << 20
"""Largest number of bytes in a line: the two longest paths, every byte escaped, and the most attributes."""

_BATCH_BYTES = 64 << 10
"""Approximate number of bytes that ``lines`` reads at a time."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class IndexWriter:
    """Writes the index of a tree into a file.

    ``add`` each record in the order of the walk, then call ``finish``, without which the index is incomplete.
    The caller flushes and closes the file.
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
        """Append the last line, with the number of records. An index without it counts as truncated."""
        self._file.write(_line({"records": self._count}))


def read(blocks: Blocks) -> Iterator[Record]:
    """Yield the records of a stored index while it is downloaded.

    Raises ``IntegrityError`` if the index is malformed or truncated, if its records are not sorted, or if a
    path is not below the root or has no record of its folder before it. Trust no record before the iterator
    has ended.
    """
    lines = _lines(blocks)
    if _parsed(next(lines, b"")) not in _READABLE:
        raise damaged("This is not an index that this release of igny8_backup can read.")
    last = b""
    folders: list[bytes] = []  # from the root down to the current one, each with its slash
    for count, line in enumerate(lines):
        record = from_plain_line(line)
        if record is None:
            fields = _parsed(line)
            if isinstance(fields, dict) and "records" in fields:
                if fields != {"records": count} or not folders or next(lines, None) is not None:
                    raise damaged("The number of records in the index differs from the one in its last line.")
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
    """Yield the records of an index as lists of unparsed lines, each with its newline.

    Only the first and the last line are checked, so use this only for an index that this host wrote itself.
    Raises ``IntegrityError``: at the beginning if the header is wrong, at the end if the index is truncated.
    The caller closes the file.
    """
    if _parsed(file.readline()) not in _READABLE:
        raise damaged("This is not an index that this release of igny8_backup can read.")
    count = 0
    batch = file.readlines(_BATCH_BYTES)
    while following := file.readlines(_BATCH_BYTES):
        count += len(batch)
        yield batch
        batch = following
    trailer = batch.pop() if batch else b""
    count += len(batch)
    yield batch
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
