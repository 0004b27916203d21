"""A tree of ours, removed."""

from __future__ import annotations

import errno
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.errors import FilesError
from igny8_backup.trees.fs.safe_dirs import FOLDER

PATIENCE = 10.0
"""Seconds in which a folder may come to hold something again. The process that writes files for a restore
ends by itself when the restore was killed, but first it writes what it was given already."""


@dataclass(slots=True)
class _Level:
    name: bytes
    inode: int
    names: list[bytes]  # still to be removed


def remove_tree(path: Path) -> None:
    """Remove a folder and all in it, nothing outside; no error when it is not there.

    Symlinks are removed, never followed, and ``path`` itself must not be one. Folders whose mode
    shuts their owner out are opened up first. ``FilesError`` when something cannot be removed;
    running it again goes on.
    """
    try:
        above = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    try:
        _remove_with_retries(os.fsencode(path.name), above)
    except FileNotFoundError:
        return
    except OSError as error:
        raise FilesError(
            f"{path} cannot be removed: {error.strerror}.",
            unchanged="Part of it may be gone.",
            hint="Mend what stands in the way and remove it again.",
        ) from error
    finally:
        os.close(above)


def _remove_with_retries(name: bytes, above: int) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return _remove(name, above)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or time.monotonic() > until:
                raise
        time.sleep(0.05)


def _remove(name: bytes, above: int) -> None:
    here = _opened(name, above)
    levels = [_level(name, here)]
    try:
        while True:
            level = levels[-1]
            if level.names:
                name = level.names.pop()
                try:
                    os.unlink(name, dir_fd=here)
                except IsADirectoryError:
                    here = _swapped(here, _opened(name, here))
                    levels.append(_level(name, here))
                continue
            levels.pop()
            if not levels:
                break
            # Back by "..", not by a descriptor kept for each level: there may be more levels than those.
            here = _swapped(here, os.open(b"..", FOLDER, dir_fd=here))
            if os.fstat(here).st_ino != levels[-1].inode:
                raise OSError(0, "it was moved meanwhile")
            os.rmdir(level.name, dir_fd=here)
    finally:
        os.close(here)
    os.rmdir(level.name, dir_fd=above)


def _opened(name: bytes, above: int) -> int:
    """The folder, opened for removal even if its mode forbids it."""
    fd = os.open(name, FOLDER | os.O_PATH, dir_fd=above)
    try:
        if os.fstat(fd).st_mode & stat.S_IRWXU != stat.S_IRWXU:
            os.chmod(f"/proc/self/fd/{fd}", stat.S_IRWXU)  # fchmod(2) refuses a descriptor of O_PATH
        return os.open(b".", FOLDER, dir_fd=fd)
    finally:
        os.close(fd)


def _swapped(old: int, new: int) -> int:
    os.close(old)
    return new


def _level(name: bytes, fd: int) -> _Level:
    return _Level(name, os.fstat(fd).st_ino, [os.fsencode(child) for child in os.listdir(fd)])
