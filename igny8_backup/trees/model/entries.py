"""What a walk of a tree finds."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Literal, NamedTuple, Self, TypeAlias

from igny8_backup.trees.model.owners import Owner, Owners

Row: TypeAlias = tuple[int, int, int, int, int, int, int, int, int]
"""The fields of a ``Status``, in order: there are millions, of which most are never looked at one by one."""


class Status(NamedTuple):
    """What ``lstat`` tells of a thing, as far as a backup needs it; times in nanoseconds since the epoch."""

    mode: int
    inode: int
    device: int
    links: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> Self:
        return cls._make(row(found))


def row(found: os.stat_result) -> Row:
    """The fields of its ``Status``."""
    return (
        found.st_mode,
        found.st_ino,
        found.st_dev,
        found.st_nlink,
        found.st_uid,
        found.st_gid,
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
    )


class Entry(NamedTuple):
    """One thing in a tree as ``lstat`` saw it; ``target`` is a symlink's."""

    path: bytes
    kind: Literal["file", "dir", "symlink"]
    status: Status
    owner: Owner
    target: bytes = b""

    @property
    def mode(self) -> int:
        """The permission bits only, set-id and sticky included."""
        return stat.S_IMODE(self.status.mode)

    @property
    def size(self) -> int:
        return self.status.size

    @property
    def mtime_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return self.status.mtime_ns

    @property
    def ctime_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return self.status.ctime_ns

    @property
    def inode(self) -> tuple[int, int]:
        """The file that this is a name of: its device and its number there."""
        return self.status.device, self.status.inode


class Files(NamedTuple):
    """Regular files that follow each other in a folder, whose path with a slash is ``prefix``.

    Of millions of files most have not changed, and are compared without an ``Entry`` being made of each.
    """

    prefix: bytes
    names: list[bytes]
    rows: list[Row]
    owners: Owners

    def path(self, number: int) -> bytes:
        """The path of one of them, counted from 0."""
        return self.prefix + self.names[number]

    def entry(self, number: int) -> Entry:
        """One of them, counted from 0."""
        status = Status._make(self.rows[number])
        owner = self.owners.owner(status.uid, status.gid)
        return Entry(self.path(number), "file", status, owner)

    def part(self, start: int, end: int) -> Files:
        """Some of them, counted as in a slice."""
        return self._replace(names=self.names[start:end], rows=self.rows[start:end])

    def entries(self) -> Iterator[Entry]:
        return map(self.entry, range(len(self.names)))
