"""Index lines of regular files, made and compared without a ``Record`` for each: there may be millions.

The lines are the same that ``records.to_line`` writes.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from igny8_backup.trees.model.entries import Files, Status
from igny8_backup.trees.model.names import escape
from igny8_backup.trees.model.records import Record, access, from_json, quoted
from igny8_backup.trees.tar import format as tar

_SHA256 = 64
"""Hexadecimal digits of a digest."""

_SIZE = Status._fields.index("size")

_DOT_SLASH = len(b"./")
"""Length of the prefix of every path in a tar."""


class FileLines(NamedTuple):
    """Files as their lines in the index, in order, with totals that need no parsing of the lines.

    ``size``: bytes of contents; ``packed_sizes``: bytes in tars, headers included, by the name of the pack.
    """

    lines: list[bytes]
    size: int
    packed_sizes: dict[str, int]

    def records(self) -> list[Record]:
        """Parse the lines."""
        return [from_json(json.loads(line)) for line in self.lines]


def unchanged_prefixes(files: Files) -> list[bytes]:
    """How the line of each file begins in an index if the file is unchanged and was not racy.

    That is everything up to the digest: path, access, size, times and inode.
    """
    # Formatted by hand, as in to_line: five times as fast as json, and always the same bytes.
    folder = quoted(escape(files.prefix))[:-1]
    names = quoted(escape(b"/".join(files.names)))[1:-1].split(
        "/"
    )  # no name holds a slash, and quoting keeps it
    owner = files.owners.owner
    return [
        (
            f'{{"path":{folder}{name}"{access("file", mode & 0o7777, owner(uid, gid))}'
            f',"size":{size},"mtime_ns":{mtime_ns},"ctime_ns":{ctime_ns},"inode":{inode},"sha256":"'
        ).encode()
        for name, (mode, inode, _, _, uid, gid, size, mtime_ns, ctime_ns) in zip(
            names, files.rows, strict=True
        )
    ]


def complete_line(prefix: bytes, sha256: str, pack: str) -> bytes:
    """The whole line for a prefix from ``unchanged_prefixes``, as ``to_line`` writes it."""
    return b'%b%b","pack":"%b"}\n' % (prefix, sha256.encode(), pack.encode())


class LineBuffer:
    """Collects files one by one into a ``FileLines``."""

    __slots__ = ("_lines", "_packed_sizes", "_size")

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._size = 0
        self._packed_sizes: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, line: bytes, pack: str, path: bytes, size: int) -> None:
        """Add a file: its line, the pack that holds it, and its size in bytes."""
        self._lines.append(line)
        self._size += size
        self._packed_sizes[pack] = self._packed_sizes.get(pack, 0) + tar.packed_size(
            _DOT_SLASH + len(path), size
        )

    def take(self) -> FileLines:
        """Return and forget the files added so far."""
        files = FileLines(self._lines, self._size, self._packed_sizes)
        self._lines, self._size, self._packed_sizes = [], 0, {}
        return files


def unchanged_files(files: Files, prefixes: list[bytes], lines: list[bytes]) -> FileLines:
    """Unchanged files as ``FileLines``: ``lines`` are theirs, ``prefixes`` from ``unchanged_prefixes``."""
    folder = _DOT_SLASH + len(files.prefix)
    sizes = [row[_SIZE] for row in files.rows]
    by_end: dict[bytes, int] = {}  # the end of a line names the pack: there are few different ones
    for line, prefix, name, size in zip(lines, prefixes, files.names, sizes, strict=True):
        end = line[len(prefix) + _SHA256 :]
        # Headers count: without them a pack of tiny files would seem to hold little that is needed.
        by_end[end] = by_end.get(end, 0) + tar.packed_size(folder + len(name), size)
    packed_sizes: dict[str, int] = {}
    for end, packed_size in by_end.items():
        pack = _pack(end)
        packed_sizes[pack] = packed_sizes.get(pack, 0) + packed_size
    return FileLines(lines, sum(sizes), packed_sizes)


def is_of_file(line: bytes) -> bool:
    """Whether a line is the record of a regular file."""
    # No path can look like this: quotes in it are escaped.
    return b'","kind":"file"' in line


def pack_of_line(line: bytes, prefix: bytes) -> str:
    """The pack that a line with this prefix (``unchanged_prefixes``) names."""
    return _pack(line[len(prefix) + _SHA256 :])


def _pack(end: bytes) -> str:
    """The pack in the part of a line that follows the digest."""
    return end.removeprefix(b'","pack":"').partition(b'"')[0].decode()
