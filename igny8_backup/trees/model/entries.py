"""What a scan of a tree yields: runs of regular files, and single entries."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Literal, NamedTuple, Self, TypeAlias

from igny8_backup.trees.model.owners import Owner, Owners

Row: TypeAlias = tuple[int, int, int, int, int, int, int, int, int]
"""The fields of a ``Status``, in order: a plain tuple, because there may be millions."""


class Status(NamedTuple):
    """The fields of ``lstat`` that a backup needs; times in nanoseconds since the epoch."""

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
    """The fields of the ``Status`` of this ``stat`` result."""
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
    """One file, folder or symlink as ``lstat`` saw it; ``target`` is where a symlink points."""

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
        """The device and the inode number."""
        return self.status.device, self.status.inode


class Files(NamedTuple):
    """Consecutive regular files in a folder; ``prefix`` is the path of the folder with a slash.

    Most of millions of files are unchanged, and are compared without an ``Entry`` for each.
    """

    prefix: bytes
    names: list[bytes]
    rows: list[Row]
    owners: Owners

    def path(self, number: int) -> bytes:
        """The path of file ``number``, counted from 0."""
        return self.prefix + self.names[number]

    def entry(self, number: int) -> Entry:
        """File ``number``, counted from 0."""
        status = Status._make(self.rows[number])
        owner = self.owners.owner(status.uid, status.gid)
        return Entry(self.path(number), "file", status, owner)

    def part(self, start: int, end: int) -> Files:
        """The files from ``start`` to before ``end``, as in a slice."""
        return self._replace(names=self.names[start:end], rows=self.rows[start:end])

    def entries(self) -> Iterator[Entry]:
        return map(self.entry, range(len(self.names)))
