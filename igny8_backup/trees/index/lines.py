"""Lines of the index of ordinary files: made and compared without a ``Record``, since there are millions.

They are those that ``records.to_line`` writes.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from igny8_backup.trees.model.entries import Files, Status
from igny8_backup.trees.model.names import escape
from igny8_backup.trees.model.records import Record, access, from_json, quoted
from igny8_backup.trees.tar import format as tar

_SHA256 = 64
"""Digits of a digest."""

_SIZE = Status._fields.index("size")

_DOT_SLASH = len(b"./")
"""With which paths begin in a tar."""


class FileLines(NamedTuple):
    """Files as their lines in the index, in order, and what must be known without reading those again.

    ``size``: bytes of their contents; ``rooms``: bytes that they take in tars, by the names of packs.
    """

    lines: list[bytes]
    size: int
    rooms: dict[str, int]

    def records(self) -> list[Record]:
        """Their records."""
        return [from_json(json.loads(line)) for line in self.lines]


def unchanged_lines(files: Files) -> list[bytes]:
    """How the line of each of these files begins if a backup has seen it just so and may trust that."""
    # Written by hand, as in to_line: a fifth of the time that json takes, and always the same bytes.
    folder = quoted(escape(files.prefix))[:-1]
    names = quoted(escape(b"/".join(files.names)))[1:-1].split("/")  # a slash is in no name, and stays one
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


def stored_line(begin: bytes, sha256: str, pack: str) -> bytes:
    """The line of an ordinary file that begins so (``unchanged_lines``): what ``to_line`` makes of it."""
    return b'%b%b","pack":"%b"}\n' % (begin, sha256.encode(), pack.encode())


class LineBuffer:
    """Gathers files one by one."""

    __slots__ = ("_lines", "_rooms", "_size")

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._size = 0
        self._rooms: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, line: bytes, pack: str, path: bytes, size: int) -> None:
        """A file of this line, in this pack."""
        self._lines.append(line)
        self._size += size
        self._rooms[pack] = self._rooms.get(pack, 0) + tar.room(_DOT_SLASH + len(path), size)

    def take(self) -> FileLines:
        """What was added since the last time."""
        files = FileLines(self._lines, self._size, self._rooms)
        self._lines, self._size, self._rooms = [], 0, {}
        return files


def unchanged_files(files: Files, begins: list[bytes], lines: list[bytes]) -> FileLines:
    """These files, whose lines begin so (``unchanged_lines``) and are these."""
    folder = _DOT_SLASH + len(files.prefix)
    sizes = [row[_SIZE] for row in files.rows]
    rooms: dict[bytes, int] = {}  # by the ends of lines, in which the pack stands: they are few
    for line, begin, name, size in zip(lines, begins, files.names, sizes, strict=True):
        end = line[len(begin) + _SHA256 :]
        # Headers and all: of a tar of tiny files, which are most of it, little would seem to be needed.
        rooms[end] = rooms.get(end, 0) + tar.room(folder + len(name), size)
    found: dict[str, int] = {}
    for end, room in rooms.items():
        pack = _pack(end)
        found[pack] = found.get(pack, 0) + room
    return FileLines(lines, sum(sizes), found)


def is_of_file(line: bytes) -> bool:
    """Whether a line is the record of a file. (No path looks like that: its quotes have backslashes.)"""
    return b'","kind":"file"' in line


def stored_in(line: bytes, begin: bytes) -> str:
    """The pack that a line names which begins so (``unchanged_lines``)."""
    return _pack(line[len(begin) + _SHA256 :])


def _pack(end: bytes) -> str:
    """The pack that the line of an ordinary file names, of which this comes after the digest."""
    return end.removeprefix(b'","pack":"').partition(b'"')[0].decode()
