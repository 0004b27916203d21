"""The items that a scan of a tree yields: runs of regular files, and single entries."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Literal, NamedTuple, Self, TypeAlias

from igny8_backup.trees.model.owners import Owner, Owners

Row: TypeAlias = tuple[int, int, int, int, int, int, int, int, int]
"""The fields of a ``Status``, in order. A plain tuple is cheaper, and there may be millions."""


class Status(NamedTuple):
    """The fields of ``lstat`` that a backup needs. Times are nanoseconds since the epoch."""

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
        """Return the fields that a backup needs, from a result of ``os.stat``."""
        return cls._make(row(found))


LINKS, SIZE = Status._fields.index("links"), Status._fields.index("size")
"""Positions, in a ``Row``, of the number of links and of the size of a file."""


def row(found: os.stat_result) -> Row:
    """Return the fields of a ``Status`` as a plain tuple, from a result of ``os.stat``."""
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


Identities: TypeAlias = tuple[tuple[int, int], ...]
"""Device and inode of each folder of a path, from the root (not included) down."""


class Entry(NamedTuple):
    """One file, folder or symlink as ``lstat`` reported it; ``target`` is where a symlink points."""

    path: bytes
    kind: Literal["file", "dir", "symlink"]
    status: Status
    owner: Owner
    target: bytes = b""

    @property
    def mode(self) -> int:
        """The permission bits, with the set-user-ID, set-group-ID and sticky bits."""
        return stat.S_IMODE(self.status.mode)


class Files(NamedTuple):
    """Consecutive regular files in a folder; ``prefix`` is the path of the folder with a slash.

    If another process walks the tree, ``folders`` are the identities (device and inode) that the folders in
    the prefix had during the walk. Most files of a tree are unchanged; they are compared without creating an
    ``Entry`` for each.
    """

    prefix: bytes
    names: list[bytes]
    rows: list[Row]
    owners: Owners
    folders: Identities = ()

    def path(self, number: int) -> bytes:
        """Return the path of file ``number``, counted from 0."""
        return self.prefix + self.names[number]

    def entry(self, number: int) -> Entry:
        """Return file ``number`` (counted from 0) as an ``Entry``."""
        status = Status._make(self.rows[number])
        owner = self.owners.owner(status.uid, status.gid)
        return Entry(self.path(number), "file", status, owner)

    def part(self, start: int, end: int) -> Files:
        """Return the files from number ``start`` up to, not including, ``end``."""
        return self._replace(names=self.names[start:end], rows=self.rows[start:end])

    def entries(self) -> Iterator[Entry]:
        """Yield each file as an ``Entry``."""
        return map(self.entry, range(len(self.names)))
