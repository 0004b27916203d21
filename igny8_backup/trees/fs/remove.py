"""Delete a directory tree that this package created."""

from __future__ import annotations

import errno
import os
import shlex
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.errors import FilesError
from igny8_backup.trees.fs.safe_dirs import FOLDER
from igny8_backup.trees.model.names import escape

RETRY_SECONDS = 10.0
"""Seconds for which a folder is emptied again and again while new files appear in it.

When a restore is killed, its extract worker goes on and writes the files that it has already received.
"""


@dataclass(slots=True)
class _Level:
    name: bytes
    inode: int
    names: list[bytes]  # still to be removed


def remove_tree(path: Path) -> None:
    """Delete a folder and its contents. A missing folder is no error.

    Symlinks are deleted, never followed, and ``path`` itself must not be a symlink. Folders whose mode locks
    out their owner are made accessible first. Raises ``FilesError`` if something cannot be deleted; call it
    again to continue.
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
        what = f"{escape(error.filename)!r} in {path}" if isinstance(error.filename, bytes) else str(path)
        check = "Check the permissions, and that no program writes there"
        if isinstance(error, PermissionError) and os.geteuid() == 0:  # only attributes stop root
            check = f"Run chattr -R -i -a {shlex.quote(str(path))}"
        raise FilesError(
            f"{what} cannot be removed: {error.strerror}.",
            unchanged="Some of its contents may have been removed. Nothing outside it was changed.",
            hint=f"{check}. Then run the same command again.",
        ) from error
    finally:
        os.close(above)


def _remove_with_retries(name: bytes, above: int) -> None:
    until = time.monotonic() + RETRY_SECONDS
    while True:
        try:
            return _remove(name, above)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or time.monotonic() > until:
                raise
        time.sleep(0.05)


def _remove(name: bytes, above: int) -> None:
    here = _open(name, above)
    levels = [_level(name, here)]
    try:
        while True:
            level = levels[-1]
            if level.names:
                name = level.names.pop()
                try:
                    os.unlink(name, dir_fd=here)
                except IsADirectoryError:
                    here = _replaced(here, _open(name, here))
                    levels.append(_level(name, here))
                continue
            levels.pop()
            if not levels:
                break
            # Go up by "..": with a descriptor for each level, a deep tree would exceed the limit of files.
            here = _replaced(here, os.open(b"..", FOLDER, dir_fd=here))
            if os.fstat(here).st_ino != levels[-1].inode:
                raise OSError(0, "it was moved while it was being removed")
            os.rmdir(level.name, dir_fd=here)
    finally:
        os.close(here)
    os.rmdir(level.name, dir_fd=above)


def _open(name: bytes, above: int) -> int:
    """Open the folder ``name`` in the open folder ``above``, even if its mode locks out its owner."""
    fd = os.open(name, FOLDER | os.O_PATH, dir_fd=above)
    try:
        if os.fstat(fd).st_mode & stat.S_IRWXU != stat.S_IRWXU:
            os.chmod(f"/proc/self/fd/{fd}", stat.S_IRWXU)  # fchmod(2) refuses a descriptor of O_PATH
        return os.open(b".", FOLDER, dir_fd=fd)
    finally:
        os.close(fd)


def _replaced(old: int, new: int) -> int:
    """Close the descriptor ``old`` and return ``new``, which takes its place."""
    os.close(old)
    return new


def _level(name: bytes, fd: int) -> _Level:
    return _Level(name, os.fstat(fd).st_ino, [os.fsencode(child) for child in os.listdir(fd)])
