"""A tree, walked in one fixed order, safe against whoever changes it meanwhile.

Every folder is opened relative to the one above it and never through a symlink (``openat`` with
``O_NOFOLLOW``), so that a folder swapped for a symlink during the walk leads nowhere. Memory holds
one listing of names per level.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self

from igny8_backup.errors import FilesError
from igny8_backup.trees.excludes import CACHE_TAG, is_cache_tag
from igny8_backup.trees.names import DEPTH_LIMIT, is_own
from igny8_backup.trees.owners import Owners
from igny8_backup.trees.skips import IS_OURS, SPECIAL, OnSkip, why

Excluded = Callable[[bytes, bool], bool]
"""Whether a path, of a folder or not, stays out; asked before it is looked into."""

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# O_NONBLOCK: a FIFO put in a file's place must not hang us; it means nothing to a regular file.
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


class Entry(NamedTuple):
    """One thing in a tree as ``lstat`` saw it. (A named tuple: there are millions, and it is the cheapest.)

    ``mode`` holds the permission bits only, set-id and sticky included; times are nanoseconds since
    the epoch; ``target`` is a symlink's; ``user`` and ``group`` are ``""`` where this machine has
    no name for the id.
    """

    path: bytes
    kind: Literal["file", "dir", "symlink"]
    mode: int
    uid: int
    gid: int
    user: str
    group: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int
    nlink: int
    target: bytes = b""


@dataclass(slots=True)
class _Level:
    fd: int
    prefix: bytes
    names: list[bytes]  # those still to come, last first


class Scan:
    """A walk over the tree below ``root``: a context manager, and an iterator over its entries.

    A folder comes before what is in it, siblings are sorted by their bytes, the root itself
    (``b""``) is first. What cannot be taken is told to ``on_skip``. A folder that may not be read
    is still an entry, empty, and skipped too. ``FilesError`` when the root is missing, no folder,
    or unreadable. What is ``excluded`` is neither given nor told, only counted (``left_out``); with
    ``tagged`` so is all but the tag in a folder, other than the root, that ``CACHEDIR.TAG`` tags as a cache.
    """

    def __init__(
        self, root: Path, *, on_skip: OnSkip, excluded: Excluded | None = None, tagged: bool = False
    ) -> None:
        self.left_out = 0
        self._root = root
        self._on_skip = on_skip
        self._excluded = excluded
        self._tagged = tagged
        self._owners = Owners()
        self._levels: list[_Level] = []
        self._entries = self._walk()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Entry]:
        return self._entries

    def close(self) -> None:
        """Give back the descriptors. The walk is over."""
        self._entries.close()
        while self._levels:
            os.close(self._levels.pop().fd)

    def open_file(self, entry: Entry) -> int:
        """A descriptor of the file just yielded; ``OSError`` when it is gone, refused, or a symlink now.

        Who opens it must ``fstat`` it: something else may stand in its place by now.
        """
        name = entry.path.rpartition(b"/")[2]
        return os.open(name, _OPEN_FILE, dir_fd=self._levels[-1].fd)

    def folder_fd(self, entry: Entry) -> int | None:
        """The walk's own descriptor of the folder just yielded; None if it could not be opened."""
        level = self._levels[-1]
        return level.fd if level.prefix == (entry.path + b"/" if entry.path else b"") else None

    def describe(
        self,
        path: bytes,
        status: os.stat_result,
        kind: Literal["file", "dir", "symlink"],
        target: bytes = b"",
    ) -> Entry:
        """An entry with what this ``stat`` says."""
        return Entry(
            path,
            kind,
            stat.S_IMODE(status.st_mode),
            status.st_uid,
            status.st_gid,
            self._owners.user(status.st_uid),
            self._owners.group(status.st_gid),
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_ino,
            status.st_dev,
            status.st_nlink,
            target,
        )

    def _walk(self) -> Generator[Entry, None, None]:
        yield self._open_root()
        while self._levels:
            level = self._levels[-1]
            if not level.names:
                os.close(self._levels.pop().fd)
                continue
            name = level.names.pop()
            path = level.prefix + name
            try:
                entry = self._entry(path, name, level.fd)
            except OSError as error:
                # Temporary files, which are what is excluded most, vanish most as well.
                if not self._leaves_out(path, False):
                    self._on_skip(path, why(error))
                continue
            if entry is not None:
                yield entry

    def _open_root(self) -> Entry:
        try:
            # The root alone may be a symlink: it is named by the settings, not found in the tree.
            fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise FilesError(
                f"The folder {self._root} cannot be read: {error.strerror}.",
                fix="Create it, give this user access to it, or take it out of the settings.",
            ) from error
        entry = self.describe(b"", os.fstat(fd), "dir")
        self._push(fd, b"")
        names = self._levels[-1].names
        for name in filter(is_own, names):
            self._on_skip(name, IS_OURS)
        self._levels[-1].names = [name for name in names if not is_own(name)]
        return entry

    def _entry(self, path: bytes, name: bytes, folder: int) -> Entry | None:
        status = os.lstat(name, dir_fd=folder)
        kind = stat.S_IFMT(status.st_mode)
        if self._excluded is not None and self._leaves_out(path, kind == stat.S_IFDIR):
            return None
        if kind == stat.S_IFREG:
            return self.describe(path, status, "file")
        if kind == stat.S_IFDIR:
            return self._folder(path, name, folder, status)
        if kind == stat.S_IFLNK:
            return self.describe(path, status, "symlink", os.readlink(name, dir_fd=folder))
        self._on_skip(path, SPECIAL.get(kind, "neither a file nor a folder nor a symlink"))
        return None

    def _folder(self, path: bytes, name: bytes, folder: int, status: os.stat_result) -> Entry:
        if len(self._levels) >= DEPTH_LIMIT:
            self._on_skip(path, f"its contents lie deeper than {DEPTH_LIMIT} folders")
            return self.describe(path, status, "dir")
        try:
            fd = os.open(name, _OPEN_FOLDER, dir_fd=folder)
        except PermissionError as error:
            self._on_skip(path, why(error))
            return self.describe(path, status, "dir")
        status = os.fstat(fd)
        self._push(fd, path + b"/")
        return self.describe(path, status, "dir")

    def _push(self, fd: int, prefix: bytes) -> None:
        self._levels.append(_Level(fd, prefix, []))
        try:
            names = [os.fsencode(name) for name in os.listdir(fd)]
        except OSError as error:
            self._on_skip(prefix.rstrip(b"/"), why(error))
            return
        if self._tagged and prefix and CACHE_TAG in names and self._is_cache(fd):
            self.left_out += len(names) - 1
            names = [CACHE_TAG]
        names.sort(reverse=True)
        self._levels[-1].names = names

    def _leaves_out(self, path: bytes, is_folder: bool) -> bool:
        out = self._excluded is not None and self._excluded(path, is_folder)
        self.left_out += out
        return out

    def _is_cache(self, folder: int) -> bool:
        try:
            return is_cache_tag(CACHE_TAG, folder)
        except OSError:
            return False  # no tag that can be read: the folder is as any other
