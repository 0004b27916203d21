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
from typing import Literal, Self

from igny8_backup.errors import FilesError
from igny8_backup.trees.model.entries import Entry, Files, Row, Status, row
from igny8_backup.trees.model.names import DEPTH_LIMIT, is_own
from igny8_backup.trees.model.owners import Owners
from igny8_backup.trees.model.skips import IS_OURS, SPECIAL, OnSkip, why
from igny8_backup.trees.model.xattrs import Xattrs, read_or_tell
from igny8_backup.trees.scan.excludes import CACHE_TAG, is_cache_tag

Excluded = Callable[[bytes, bool], bool]
"""Whether a path, of a folder or not, stays out; asked before it is looked into."""

OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# O_NONBLOCK: a FIFO put in a file's place must not hang us; it means nothing to a regular file.
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


TOGETHER = 200
"""So many files of a folder are looked at before the first of them is handed out, at most."""


@dataclass(slots=True)
class Level:
    """An open folder, and what its paths begin with; ``names`` are those still to come, last first."""

    fd: int
    prefix: bytes
    names: list[bytes]


class Scan:
    """A walk over the tree below ``root``: a context manager, and an iterator over what is in it: files, some
    at a time, and everything else.

    A folder comes before what is in it, siblings are sorted by their bytes, the root itself
    (``b""``) is first. What cannot be taken is told to ``on_skip``. A folder that may not be read
    is still an entry, empty, and skipped too. ``FilesError`` when the root is missing, no folder,
    or unreadable. What is ``excluded`` is neither given nor told, only counted (``left_out``); with
    ``tagged`` so is all but the tag in a folder, other than the root, that ``CACHEDIR.TAG`` tags as a cache.
    ``root_fd`` is a descriptor of the root where that is open already.
    """

    def __init__(
        self,
        root: Path,
        *,
        on_skip: OnSkip,
        excluded: Excluded | None = None,
        tagged: bool = False,
        root_fd: int | None = None,
    ) -> None:
        self.left_out = 0
        self._root = root
        self._root_fd = root_fd
        self._on_skip = on_skip
        self._excluded = excluded
        self._tagged = tagged
        self._owners = Owners()
        self._levels: list[Level] = []
        self._found = self._walk()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Entry | Files]:
        return self._found

    def entries(self) -> Iterator[Entry]:
        """Everything one by one."""
        for found in self:
            if isinstance(found, Files):
                yield from found.entries()
            else:
                yield found

    def close(self) -> None:
        """Give back the descriptors. The walk is over."""
        self._found.close()
        while self._levels:
            os.close(self._levels.pop().fd)

    def open_file(self, files: Files, number: int) -> int:
        """A descriptor of one of the files just yielded; ``OSError`` when it is gone, refused, or a symlink
        now.

        Who opens it must ``fstat`` it: something else may stand in its place by now.
        """
        return os.open(files.names[number], OPEN_FILE, dir_fd=self._levels[-1].fd)

    def folder_fd(self, entry: Entry) -> int | None:
        """The walk's own descriptor of the folder just yielded; None if it could not be opened."""
        level = self._levels[-1]
        return level.fd if level.prefix == (entry.path + b"/" if entry.path else b"") else None

    def folder_xattrs(self, entry: Entry) -> Xattrs:
        """Those of the folder just yielded; none where it could not be opened."""
        fd = self.folder_fd(entry)
        return () if fd is None else read_or_tell(entry.path, fd, self._on_skip)

    def describe(
        self,
        path: bytes,
        status: Status,
        kind: Literal["file", "dir", "symlink"],
        target: bytes = b"",
    ) -> Entry:
        """An entry with what this ``stat`` says."""
        return Entry(path, kind, status, self._owners.owner(status.uid, status.gid), target)

    def _walk(self) -> Generator[Entry | Files, None, None]:
        yield self._begin()
        while self._levels:
            level = self._levels[-1]
            if files := self._files(level):
                yield files
            elif not level.names:
                os.close(self._levels.pop().fd)
            elif (entry := self._other(level)) is not None:
                yield entry

    def _files(self, level: Level) -> Files | None:
        """Those that come next in this folder; None where something else does, or nothing."""
        names: list[bytes] = []
        rows: list[Row] = []
        while level.names and len(names) < TOGETHER:
            name = level.names[-1]
            try:
                status = os.lstat(name, dir_fd=level.fd)
            except OSError as error:
                # Temporary files, which are what is excluded most, vanish most as well.
                if not self._leaves_out(level.prefix + name, False):
                    self._on_skip(level.prefix + name, why(error))
                level.names.pop()
                continue
            if not stat.S_ISREG(status.st_mode):
                break
            level.names.pop()
            if self._excluded is None or not self._leaves_out(level.prefix + name, False):
                names.append(name)
                rows.append(row(status))
        return Files(level.prefix, names, rows, self._owners) if names else None

    def _other(self, level: Level) -> Entry | None:
        """What comes next in this folder and was no file just now."""
        name = level.names.pop()
        path = level.prefix + name
        try:
            return self._entry(path, name, level)
        except OSError as error:
            if not self._leaves_out(path, False):
                self._on_skip(path, why(error))
            return None

    def _open_root(self) -> int:
        """A descriptor of the root, for this walk to close."""
        if self._root_fd is not None:
            return os.dup(self._root_fd)
        try:
            # The root alone may be a symlink: it is named by the settings, not found in the tree.
            return os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise FilesError(
                f"The folder {self._root} cannot be read: {error.strerror}.",
                hint="Create it, give this user access to it, or take it out of the settings.",
            ) from error

    def _begin(self) -> Entry:
        fd = self._open_root()
        entry = self.describe(b"", Status.of(os.fstat(fd)), "dir")
        self._push(fd, b"")
        names = self._levels[-1].names
        for name in filter(is_own, names):
            self._on_skip(name, IS_OURS)
        self._levels[-1].names = [name for name in names if not is_own(name)]
        return entry

    def _entry(self, path: bytes, name: bytes, level: Level) -> Entry | None:
        status = Status.of(os.lstat(name, dir_fd=level.fd))
        kind = stat.S_IFMT(status.mode)
        if self._excluded is not None and self._leaves_out(path, kind == stat.S_IFDIR):
            return None
        if kind == stat.S_IFDIR:
            return self._folder(path, name, level.fd, status)
        if kind == stat.S_IFLNK:
            return self.describe(path, status, "symlink", os.readlink(name, dir_fd=level.fd))
        if kind == stat.S_IFREG:
            level.names.append(name)  # put there a moment ago: it is looked at as a file
            return None
        self._on_skip(path, SPECIAL.get(kind, "neither a file nor a folder nor a symlink"))
        return None

    def _folder(self, path: bytes, name: bytes, folder: int, status: Status) -> Entry:
        if len(self._levels) >= DEPTH_LIMIT:
            self._on_skip(path, f"its contents lie deeper than {DEPTH_LIMIT} folders")
            return self.describe(path, status, "dir")
        try:
            fd = os.open(name, OPEN_FOLDER, dir_fd=folder)
        except PermissionError as error:
            self._on_skip(path, why(error))
            return self.describe(path, status, "dir")
        status = Status.of(os.fstat(fd))
        self._push(fd, path + b"/")
        return self.describe(path, status, "dir")

    def _push(self, fd: int, prefix: bytes) -> None:
        self._levels.append(Level(fd, prefix, []))
        try:
            names = os.fsencode("\0".join(os.listdir(fd))).split(b"\0")  # all in one go: no name holds a NUL
        except OSError as error:
            self._on_skip(prefix.rstrip(b"/"), why(error))
            return
        if self._tagged and prefix and CACHE_TAG in names and self._is_cache(fd):
            self.left_out += len(names) - 1
            names = [CACHE_TAG]
        names.sort(reverse=True)
        self._levels[-1].names = [name for name in names if name]  # of an empty folder one without a name

    def _leaves_out(self, path: bytes, is_folder: bool) -> bool:
        out = self._excluded is not None and self._excluded(path, is_folder)
        self.left_out += out
        return out

    def _is_cache(self, folder: int) -> bool:
        try:
            return is_cache_tag(CACHE_TAG, folder)
        except OSError:
            return False  # no tag that can be read: the folder is as any other
