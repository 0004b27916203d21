"""What a walk of a tree finds."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Literal, NamedTuple

from igny8_backup.trees.owners import Owner, Owners


class Entry(NamedTuple):
    """One thing in a tree as ``lstat`` saw it; ``target`` is a symlink's."""

    path: bytes
    kind: Literal["file", "dir", "symlink"]
    status: os.stat_result
    owner: Owner
    target: bytes = b""

    @property
    def mode(self) -> int:
        """The permission bits only, set-id and sticky included."""
        return stat.S_IMODE(self.status.st_mode)

    @property
    def size(self) -> int:
        return self.status.st_size

    @property
    def mtime_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return self.status.st_mtime_ns

    @property
    def ctime_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return self.status.st_ctime_ns

    @property
    def inode(self) -> tuple[int, int]:
        """The file that this is a name of: its device and its number there."""
        return self.status.st_dev, self.status.st_ino


class Files(NamedTuple):
    """Regular files that follow each other in a folder, whose path with a slash is ``prefix``.

    Of millions of files most have not changed, and are compared without an ``Entry`` being made of each.
    """

    prefix: bytes
    names: list[bytes]
    statuses: list[os.stat_result]
    owners: Owners

    def entry(self, number: int) -> Entry:
        """One of them, counted from 0."""
        status = self.statuses[number]
        owner = self.owners.owner(status.st_uid, status.st_gid)
        return Entry(self.prefix + self.names[number], "file", status, owner)

    def part(self, start: int, end: int) -> Files:
        """Some of them, counted as in a slice."""
        return self._replace(names=self.names[start:end], statuses=self.statuses[start:end])

    def entries(self) -> Iterator[Entry]:
        return map(self.entry, range(len(self.names)))
