"""Make and enter folders in a staging folder (the tree being built) without ever following a symlink."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.errors import FilesError
from igny8_backup.trees.model.names import escape
from igny8_backup.trees.model.records import Record

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
"""Flags for ``os.open`` that open a folder and refuse a symlink."""


@dataclass(frozen=True)
class MadeFolder:
    """A folder, ``path``, that this package has made below the folder ``above``.

    Another user who owns ``above`` can rename the made folder and put another folder or a symlink in its
    place. ``open`` notices that by ``inode``, the inode of the folder that was made (0 if it is unknown). A
    process that cannot reach ``path`` has inherited the descriptor ``fd`` (-1 without).
    """

    path: Path
    above: Path
    inode: int = 0
    fd: int = -1

    def open(self) -> int:
        """Return a descriptor of the folder.

        Raises ``OSError`` if it is gone, or if a symlink or another folder has taken its place.
        """
        if self.fd >= 0:
            return os.dup(self.fd)
        fd = os.open(self.above, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name in self.path.relative_to(self.above).parts:
                below = os.open(name, FOLDER, dir_fd=fd)
                os.close(fd)
                fd = below
            if self.inode and os.fstat(fd).st_ino != self.inode:
                raise OSError(errno.ESTALE, "somebody has replaced it while the restore ran")
        except BaseException:
            os.close(fd)
            raise
        return fd


class Folders:
    """The folders that are open while a tree is built: from the staging folder (its root) to the current one.

    Missing folders are made. Before a folder that ``enter`` opened is left (closed), ``finish`` is called
    with its descriptor and its record.
    """

    def __init__(self, staging: int, finish: Callable[[int, Record], None]) -> None:
        self._staging = staging
        self._finish = finish
        self._levels: list[tuple[bytes, int, Record | None]] = []  # path with its slash, descriptor, record

    def reach(self, path: bytes) -> tuple[int, bytes]:
        """Open the folder that holds ``path``; return its descriptor and the last component of ``path``.

        Open folders that do not hold ``path`` are left (closed). Raises ``FilesError`` if a folder cannot be
        made or finished.
        """
        end = path.rfind(b"/") + 1
        if self._levels and path[:end] == self._levels[-1][0]:
            return self._levels[-1][1], path[end:]
        while self._levels and not path.startswith(self._levels[-1][0]):
            self._leave()
        prefix, fd, _ = self._levels[-1] if self._levels else (b"", self._staging, None)
        *missing, name = path[len(prefix) :].split(b"/")
        for part in missing:
            prefix += part + b"/"
            fd = self._push(fd, part, prefix, None)
        return fd, name

    def enter(self, path: bytes, record: Record) -> None:
        """Open the folder ``path``; create it if it is missing.

        Its owner, mode, attributes and time are set from ``record`` when the folder is left.
        """
        fd, name = self.reach(path)
        self._push(fd, name, path + b"/", record)

    def leave_all(self) -> None:
        """Call ``finish`` for all open folders and close them. Raises ``FilesError``."""
        while self._levels:
            self._leave()

    def close(self) -> None:
        """Close all open folders without calling ``finish``."""
        while self._levels:
            os.close(self._levels.pop()[1])

    def _push(self, folder: int, name: bytes, path: bytes, record: Record | None) -> int:
        try:
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=folder)
            fd = os.open(name, FOLDER, dir_fd=folder)
        except OSError as error:
            raise refused(path, error) from error
        self._levels.append((path, fd, record))
        return fd

    def _leave(self) -> None:
        path, fd, record = self._levels.pop()
        try:
            if record is not None:
                self._finish(fd, record)
        except OSError as error:
            raise refused(path, error) from error
        finally:
            os.close(fd)


def refused(path: bytes, error: OSError) -> FilesError:
    """Return the error for a ``path`` that could not be written to the staging folder."""
    return FilesError(
        f"{escape(path)!r} cannot be written to the staging folder: {error.strerror}.",
        unchanged="The live tree was not changed.",
        hint="Free some space, raise the quota or correct the permissions, and restore again.",
    )
