"""The lines of regular files in an index, made and compared without creating a ``Record`` for each.

There may be millions of files. The lines are identical to those that ``records.to_line`` writes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import NamedTuple

from igny8_backup.trees.model.damage import damaged
from igny8_backup.trees.model.entries import SIZE, Files
from igny8_backup.trees.model.names import escape, unescape
from igny8_backup.trees.model.records import access, quoted
from igny8_backup.trees.tar import format as tar

_SHA256 = 64
"""Number of hexadecimal digits in a SHA-256 digest."""

_KIND = b'","kind":"file"'
_CONTENTS = re.compile(rb',"sha256":"([0-9a-f]{64})","pack":"([^"]*)"(?:,"member":("(?:[^"\\]|\\.)*"))?')


class Stored(NamedTuple):
    """Where the contents of a file are stored: their SHA-256, and the name of the pack (tar).

    ``member`` is the path in the pack, or empty if it is the path of the file.
    """

    sha256: str
    pack: str
    member: bytes = b""


class FileLines(NamedTuple):
    """Consecutive lines of the index that describe regular files, with totals over these files.

    ``size``: bytes of contents. ``packed_sizes``: for each pack (tar), the number of bytes that these files
    take in the pack, headers included. ``opened``: the files were read; otherwise their status was enough.
    """

    lines: list[bytes]
    size: int
    packed_sizes: Counter[str]
    opened: bool = False


class LinesBuilder:
    """Collects the index lines of files that were read, one by one, for a ``FileLines``."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._size = 0
        self._packed_sizes: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, line: bytes, pack: str, path: bytes, size: int) -> None:
        """Add a file: its line in the index, the pack (tar) that holds it, and its size in bytes."""
        self._lines.append(line)
        self._size += size
        self._packed_sizes[pack] += packed_size(len(path), size)

    def take(self) -> FileLines:
        """Return all files that were added since the last call."""
        found = FileLines(self._lines, self._size, self._packed_sizes, opened=True)
        self._lines, self._size, self._packed_sizes = [], 0, Counter()
        return found


def unchanged_prefixes(files: Files) -> list[bytes]:
    """Return, for each file, the beginning of the index line that describes its present state.

    A beginning holds path, mode, owner, size, times and inode. If the line of a file in the index of the last
    backup begins the same, the file is unchanged. (A file whose times might not show its last change never
    counts as unchanged: its line is marked ``racy`` and so begins differently.)
    """
    # Formatted by hand, as in to_line: five times as fast as json, and always the same bytes.
    folder = quoted(escape(files.prefix))[:-1]
    # All names are quoted at once: no name holds a slash, and quoting leaves slashes unchanged.
    names = quoted(escape(b"/".join(files.names)))[1:-1].split("/")
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


def complete_line(prefix: bytes, stored: Stored) -> bytes:
    """Return the complete index line of a file: its beginning (``unchanged_prefixes``), digest and pack."""
    member = f',"member":{quoted(escape(stored.member))}' if stored.member else ""
    return b"%b%b%b}\n" % (prefix, stored.sha256.encode(), f'","pack":"{stored.pack}"{member}'.encode())


def packed_size(path_length: int, size: int) -> int:
    """Return how many bytes a file of this size takes in a pack (tar), if its path has this length."""
    return tar.packed_size(len(b"./") + path_length, size)


def unchanged_files(files: Files, prefixes: list[bytes], lines: list[bytes]) -> FileLines:
    """Return ``lines``, the index lines of unchanged files, with totals over these files.

    ``prefixes`` are the beginnings of the lines.
    """
    folder = len(files.prefix)
    sizes = [row[SIZE] for row in files.rows]
    by_end: Counter[bytes] = Counter()  # by the end of the line, which names the pack: there are few packs
    for line, prefix, name, size in zip(lines, prefixes, files.names, sizes, strict=True):
        # Headers count: without them a pack of tiny files would seem to hold little that is needed.
        by_end[line[len(prefix) + _SHA256 :]] += packed_size(folder + len(name), size)
    packed_sizes: Counter[str] = Counter()
    for end, size in by_end.items():
        packed_sizes[_pack(end)] += size
    return FileLines(lines, sum(sizes), packed_sizes)


def describes(line: bytes, prefix: bytes, size: int) -> bool:
    """Return whether an index line is of a file of ``size`` bytes that has the same path as ``prefix``.

    ``prefix`` is the beginning of the line that describes the present state of the file.
    """
    # No path and no name of an owner can look like these parts: quotes in them are escaped.
    return line.startswith(prefix[: prefix.index(_KIND) + len(_KIND)]) and b'","size":%d,' % size in line


def stored_contents(line: bytes) -> Stored:
    """Return where the contents of a file are stored, from its index line."""
    found = _CONTENTS.search(line)
    if found is None:
        raise damaged("The index holds a file without a digest.")
    sha256, pack, member = found.groups()
    return Stored(sha256.decode(), pack.decode(), unescape(json.loads(member)) if member else b"")


def is_of_file(line: bytes) -> bool:
    """Return whether a line of an index is the record of a regular file."""
    # No path can look like this: quotes in it are escaped.
    return _KIND in line


def pack_of_line(line: bytes, prefix: bytes) -> str:
    """Return the name of the pack (tar) in an index line that begins with ``prefix``."""
    return _pack(line[len(prefix) + _SHA256 :])


def _pack(end: bytes) -> str:
    """Return the name of the pack (tar) from ``end``, the part of an index line that follows the digest."""
    return end.removeprefix(b'","pack":"').partition(b'"')[0].decode()
