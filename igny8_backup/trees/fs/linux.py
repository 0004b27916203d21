"""Two calls of Linux that Python does not have: renameat2(2) and syncfs(2)."""

from __future__ import annotations

import ctypes
import errno
import os

_NOREPLACE = 1
_EXCHANGE = 2
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)

_libc = ctypes.CDLL(None, use_errno=True)


def exchange_names(folder: int, other: int, name: bytes) -> bool:
    """Swap what two open folders hold under one name, in one step; False where that is not supported."""
    return _renameat2(folder, name, other, name, _EXCHANGE)


def move(source: int, name: bytes, target: int, new_name: bytes) -> None:
    """Rename from one open folder into another; ``FileExistsError`` if the new name is taken."""
    if _renameat2(source, name, target, new_name, _NOREPLACE):
        return
    try:
        os.lstat(new_name, dir_fd=target)
    except FileNotFoundError:
        os.rename(name, new_name, src_dir_fd=source, dst_dir_fd=target)
    else:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new_name)


def sync_filesystem(fd: int) -> None:
    """Have all of the filesystem that holds this descriptor on its disk; ``OSError`` when that fails."""
    try:
        call = _libc.syncfs
    except AttributeError:
        os.sync()
        return
    if call(fd):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _renameat2(source: int, name: bytes, target: int, new_name: bytes, flags: int) -> bool:
    try:
        call = _libc.renameat2
    except AttributeError:  # a C library without it: musl until recently
        return False
    if call(source, name, target, new_name, flags) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), name)
