"""Lines of the index of ordinary files: made and compared without a ``Record``, since there are millions.

They are those that ``records.to_line`` writes.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from igny8_backup.trees.entries import Files
from igny8_backup.trees.names import escape
from igny8_backup.trees.records import Record, access, from_json, quoted


class FileLine(NamedTuple):
    """A file's record as its line in the index, and what must be known of it without reading that again."""

    line: bytes
    pack: str
    path: bytes
    size: int

    def record(self) -> Record:
        """The record itself."""
        return from_json(json.loads(self.line))


def unchanged_lines(files: Files) -> list[bytes]:
    """How the line of each of these files begins if a backup has seen it just so and may trust that."""
    # Written by hand, as in to_line: a fifth of the time that json takes, and always the same bytes.
    folder = quoted(escape(files.prefix))[:-1]
    names = quoted(escape(b"/".join(files.names)))[1:-1].split("/")  # a slash is in no name, and stays one
    owner = files.owners.owner
    return [
        (
            f'{{"path":{folder}{name}"{access("file", of.st_mode & 0o7777, owner(of.st_uid, of.st_gid))}'
            f',"size":{of.st_size},"mtime_ns":{of.st_mtime_ns},"ctime_ns":{of.st_ctime_ns},"inode":{of.st_ino}'
            ',"sha256":"'
        ).encode()
        for name, of in zip(names, files.statuses, strict=True)
    ]


def stored_line(begin: bytes, sha256: str, pack: str) -> bytes:
    """The line of an ordinary file that begins so (``unchanged_lines``): what ``to_line`` makes of it."""
    return b'%b%b","pack":"%b"}\n' % (begin, sha256.encode(), pack.encode())


def is_of_file(line: bytes) -> bool:
    """Whether a line is the record of a file. (No path looks like that: its quotes have backslashes.)"""
    return b'","kind":"file"' in line


def stored_in(line: bytes, begin: bytes) -> str:
    """The pack that a line names which begins so (``unchanged_lines``)."""
    start = len(begin) + 64 + len('","pack":"')
    return line[start : line.index(b'"', start)].decode()
