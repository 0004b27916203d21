"""Linux interfaces that Python does not wrap: renameat2(2), syncfs(2), and the mount points in proc(5)."""

from __future__ import annotations

import ctypes
import errno
import os
import re
from pathlib import Path

from igny8_backup.filesystem import cannot

_NOREPLACE = 1
_EXCHANGE = 2

_libc = ctypes.CDLL(None, use_errno=True)
_MOUNTS = Path("/proc/self/mountinfo")


def exchange_names(folder: int, other: int, name: bytes) -> bool:
    """Exchange the entries of this name in two open folders atomically; return False if not supported."""
    return _renameat2(folder, name, other, name, _EXCHANGE)


def move(source: int, name: bytes, target: int, new_name: bytes) -> None:
    """Move an entry from one open folder to another. Raises ``FileExistsError`` if the new name is taken."""
    if _renameat2(source, name, target, new_name, _NOREPLACE):
        return
    try:
        os.lstat(new_name, dir_fd=target)
    except FileNotFoundError:
        os.rename(name, new_name, src_dir_fd=source, dst_dir_fd=target)
    else:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new_name)


def sync_filesystem(fd: int) -> None:
    """Flush the complete filesystem of an open file to its disk, if it can. Raises ``OSError``."""
    try:
        call = _libc.syncfs
    except AttributeError:
        os.sync()
        return
    if call(fd):
        error = OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        if not cannot(error):
            raise error


def mounts_below(folder: Path) -> list[bytes]:
    """Return the mount points below a folder, sorted, including bind mounts of the same filesystem.

    They are the fifth field of ``/proc/pid/mountinfo`` (proc(5)), in which blanks and backslashes are octal.
    Without that file the result is empty; device numbers then reveal all mounts except bind mounts.
    """
    try:
        lines = _MOUNTS.read_bytes().splitlines()
    except OSError:
        return []
    points = (re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), line.split()[4]) for line in lines)
    above = os.path.join(os.fsencode(folder.resolve()), b"")
    return sorted({point for point in points if point.startswith(above)})


def _renameat2(source: int, name: bytes, target: int, new_name: bytes, flags: int) -> bool:
    try:
        call = _libc.renameat2
    except AttributeError:  # a C library without it: musl until recently
        return False
    if call(source, name, target, new_name, flags) == 0:
        return True
    number = ctypes.get_errno()
    error = OSError(number, os.strerror(number), name)
    if cannot(error):
        return False
    raise error
