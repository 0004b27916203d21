"""Walk a tree in a fixed order, safely even while other processes change it.

Every folder is opened relative to the one above it (``openat``) and never through a symlink (``O_NOFOLLOW``).
So if somebody replaces a folder by a symlink during the walk, the walk does not follow it. Memory holds one
listing of names for each level of folders.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from igny8_backup.errors import FilesError
from igny8_backup.trees.fs.left_alone import left_alone
from igny8_backup.trees.fs.sparse import HOLE, bytes_on_disk
from igny8_backup.trees.model.entries import LINKS, SIZE, Entry, Files, Row, Status, row
from igny8_backup.trees.model.facts import Facts
from igny8_backup.trees.model.names import DEPTH_LIMIT
from igny8_backup.trees.model.owners import Owners
from igny8_backup.trees.model.skips import SPECIAL, OnSkip, why
from igny8_backup.trees.model.xattrs import Xattrs, read_xattrs_or_skip
from igny8_backup.trees.scan.excludes import CACHE_TAG, is_cache_tag

Excluded = Callable[[bytes, bool], bool]
"""Called with a path and whether the path is a folder; returns whether the path is excluded."""

OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# O_NONBLOCK: opening a FIFO that took the place of a file must not hang; regular files ignore it.
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK

BATCH_FILES = 200
"""Largest number of files of a folder that are yielded together."""


@dataclass(slots=True)
class Level:
    """An open folder that a walk is in.

    Paths in it begin with ``prefix``; ``names`` are still to be yielded, from the last name to the first.
    """

    fd: int
    prefix: bytes
    names: list[bytes]


class Scan:
    """A walk over the tree below ``root``, which yields its files, folders and symlinks. Must be closed.

    Adjacent files are yielded together (``Files``), everything else as an ``Entry``. The root itself
    (``b""``) is first, a folder comes before its contents, and siblings are sorted by the bytes of their
    names. ``on_skip`` receives each path that cannot be backed up; an unreadable folder is also yielded,
    without contents. Paths for which ``excluded`` returns true are only counted (in ``facts``). With
    ``exclude_caches`` a folder that ``CACHEDIR.TAG`` marks as a cache yields only that tag. ``own`` are the
    names of folders in the root that hold data of restores and are not walked (``left_alone``). ``root_fd``
    is a descriptor of the root, if there is one. Raises ``FilesError`` if the root is not a readable folder.
    """

    def __init__(
        self,
        root: Path,
        *,
        on_skip: OnSkip,
        excluded: Excluded | None = None,
        exclude_caches: bool = False,
        own: Collection[bytes] = (),
        root_fd: int | None = None,
    ) -> None:
        self.facts = Facts()
        self._root = root
        self._root_fd = root_fd
        self._on_skip = on_skip
        self._excluded = excluded
        self._exclude_caches = exclude_caches
        self._own = own
        self._owners = Owners()
        self._levels: list[Level] = []
        self._items = self._walk()

    def __iter__(self) -> Iterator[Entry | Files]:
        return self._items

    def entries(self) -> Iterator[Entry]:
        """Yield each file, folder and symlink of the tree as an ``Entry``."""
        for found in self:
            yield from found.entries() if isinstance(found, Files) else (found,)

    def close(self) -> None:
        """End the walk and close its descriptors."""
        self._items.close()
        while self._levels:
            os.close(self._levels.pop().fd)

    def open_file(self, files: Files, number: int) -> int:
        """Open file ``number`` of ``files``, which was yielded last, and return the descriptor.

        Call ``fstat`` on the descriptor: another file might have replaced the one that was listed. Raises
        ``OSError`` if the file is gone or is a symlink now.
        """
        return os.open(files.names[number], OPEN_FILE, dir_fd=self._levels[-1].fd)

    def folder_fd(self, entry: Entry) -> int | None:
        """Return the descriptor of ``entry``, the folder that was yielded last; None if it cannot be opened.

        The walk closes the descriptor.
        """
        level = self._levels[-1]
        return level.fd if level.prefix == (entry.path + b"/" if entry.path else b"") else None

    def folder_xattrs(self, entry: Entry) -> Xattrs:
        """Return the extended attributes of the folder that was yielded last; none if it cannot be opened."""
        fd = self.folder_fd(entry)
        return () if fd is None else read_xattrs_or_skip(entry.path, fd, self._on_skip)

    def _describe(
        self,
        path: bytes,
        status: Status,
        kind: Literal["file", "dir", "symlink"],
        target: bytes = b"",
    ) -> Entry:
        """Return the entry of ``path``, with the names of its user and group added."""
        return Entry(path, kind, status, self._owners.owner(status.uid, status.gid), target)

    def _walk(self) -> Generator[Entry | Files, None, None]:
        yield self._begin()
        while self._levels:
            level = self._levels[-1]
            if files := self._files(level):
                yield files
            elif not level.names:
                os.close(self._levels.pop().fd)
            elif (entry := self._non_file(level)) is not None:
                yield entry

    def _files(self, level: Level) -> Files | None:
        """Return the files that come next in this folder; None if a folder, a link or nothing comes next."""
        names: list[bytes] = []
        rows: list[Row] = []
        allocated = 0
        while level.names and len(names) < BATCH_FILES:
            name = level.names[-1]
            try:
                status = os.lstat(name, dir_fd=level.fd)
            except OSError as error:
                # Files that vanish are mostly temporary, and so mostly excluded.
                if not self._is_excluded(level.prefix + name, False):
                    self._on_skip(level.prefix + name, why(error))
                level.names.pop()
                continue
            if not stat.S_ISREG(status.st_mode):
                break
            level.names.pop()
            if self._excluded is None or not self._is_excluded(level.prefix + name, False):
                names.append(name)
                rows.append(found := row(status))
                # Most files have no hole: this is much faster than a call for each.
                more = status.st_blocks * 512 - found[SIZE]
                usual = 0 <= more < HOLE and found[LINKS] == 1
                allocated += more + found[SIZE] if usual else bytes_on_disk(status)
        self.facts.allocated += allocated
        return Files(level.prefix, names, rows, self._owners) if names else None

    def _non_file(self, level: Level) -> Entry | None:
        """Return the folder or symlink that comes next in this folder; None if it is skipped."""
        name = level.names.pop()
        path = level.prefix + name
        try:
            return self._entry(path, name, level)
        except OSError as error:
            if not self._is_excluded(path, False):
                self._on_skip(path, why(error))
            return None

    def _open_root(self) -> int:
        """Open the root of the tree and return the descriptor, which this walk closes."""
        if self._root_fd is not None:
            return os.dup(self._root_fd)
        try:
            # The root alone may be a symlink: it is named by the settings, not found in the tree.
            return os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise FilesError(
                f"The folder {self._root} cannot be read: {error.strerror}.",
                hint="Create it, give this user access to it, or remove it from the settings.",
            ) from error

    def _begin(self) -> Entry:
        fd = self._open_root()
        entry = self._describe(b"", Status.of(os.fstat(fd)), "dir")
        self._push(fd, b"")
        level = self._levels[-1]
        alone = left_alone(fd, level.names, self._own)
        for name, reason in alone.items():
            self._on_skip(name, reason)
        level.names = [name for name in level.names if name not in alone]
        return entry

    def _entry(self, path: bytes, name: bytes, level: Level) -> Entry | None:
        status = Status.of(os.lstat(name, dir_fd=level.fd))
        kind = stat.S_IFMT(status.mode)
        if self._is_excluded(path, kind == stat.S_IFDIR):
            return None
        if kind == stat.S_IFDIR:
            return self._folder(path, name, level.fd, status)
        if kind == stat.S_IFLNK:
            return self._describe(path, status, "symlink", os.readlink(name, dir_fd=level.fd))
        if kind == stat.S_IFREG:
            level.names.append(name)  # created a moment ago: it belongs to the next run of files
            return None
        self._on_skip(path, SPECIAL.get(kind, "neither a file, a folder nor a symlink"))
        return None

    def _folder(self, path: bytes, name: bytes, folder: int, status: Status) -> Entry:
        if len(self._levels) >= DEPTH_LIMIT:
            self._on_skip(path, f"its contents lie deeper than {DEPTH_LIMIT} folders")
            return self._describe(path, status, "dir")
        try:
            fd = os.open(name, OPEN_FOLDER, dir_fd=folder)
        except PermissionError as error:
            self._on_skip(path, why(error))
            return self._describe(path, status, "dir")
        status = Status.of(os.fstat(fd))
        self._push(fd, path + b"/")
        return self._describe(path, status, "dir")

    def _push(self, fd: int, prefix: bytes) -> None:
        self._levels.append(Level(fd, prefix, []))
        try:
            # All names are encoded at once, which is faster; no name holds a NUL.
            names = os.fsencode("\0".join(os.listdir(fd))).split(b"\0")
        except OSError as error:
            self._on_skip(prefix.rstrip(b"/"), why(error))
            return
        if self._exclude_caches and prefix and CACHE_TAG in names and is_cache_tag(CACHE_TAG, fd):
            self.facts.excluded += len(names) - 1
            names = [CACHE_TAG]
        self.facts.longest_name = max(self.facts.longest_name, *map(len, names))
        self.facts.case_clash |= len(set(map(bytes.lower, names))) < len(names)
        names.sort(reverse=True)
        self._levels[-1].names = [name for name in names if name]  # an empty folder gives one empty name

    def _is_excluded(self, path: bytes, is_folder: bool) -> bool:
        excluded = self._excluded is not None and self._excluded(path, is_folder)
        self.facts.excluded += excluded
        return excluded
