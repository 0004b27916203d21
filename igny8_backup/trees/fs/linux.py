"""Linux interfaces that Python lacks: renameat2(2), statx(2), syncfs(2), and the mounts in proc(5)."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import sys
from pathlib import Path

from igny8_backup.common.filesystem import cannot

_NOREPLACE = 1
_EXCHANGE = 2

IMMUTABLE, APPEND_ONLY, MOUNT_POINT = 0x10, 0x20, 0x2000
"""Attributes in the result of statx(2)."""
_NO_FOLLOW, _EMPTY_PATH, _NO_AUTOMOUNT = 0x100, 0x1000, 0x800
_STATX_BYTES = 256

_libc = ctypes.CDLL(None, use_errno=True)
_MOUNTS = Path("/proc/self/mountinfo")


def exchange_names(folder: int, other: int, name: bytes) -> bool:
    """Exchange the entries ``name`` of two open folders atomically; return False if that is not supported."""
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
    """Write all changes in a filesystem to the disk (syncfs(2)); ``fd`` is an open file in that filesystem.

    Does nothing if the filesystem does not support syncfs. Raises ``OSError`` if writing fails.
    """
    try:
        call = _libc.syncfs
    except AttributeError:
        os.sync()
        return
    if call(fd):
        error = OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        if not cannot(error):
            raise error


def attributes(folder: int, name: bytes = b"") -> int:
    """Return which of ``IMMUTABLE``, ``APPEND_ONLY`` and ``MOUNT_POINT`` an entry of an open folder has.

    Without ``name`` the folder itself is examined. The result is 0 where the system reports none.
    """
    buffer = ctypes.create_string_buffer(_STATX_BYTES)
    flags = _NO_FOLLOW | _NO_AUTOMOUNT | (0 if name else _EMPTY_PATH)
    try:
        if _libc.statx(folder, name, flags, 0, buffer):
            return 0
    except AttributeError:  # a C library without it
        return 0
    found = int.from_bytes(buffer.raw[8:16], sys.byteorder)
    return found & (IMMUTABLE | APPEND_ONLY | MOUNT_POINT)


def file_system_type(device: int) -> str:
    """Return the type (as in mount(8)) of the file system with this device number; ``""`` if unknown."""
    wanted = f"{os.major(device)}:{os.minor(device)}".encode()
    for line in _mount_lines():
        fields = line.split()
        if fields[2] == wanted:
            return os.fsdecode(fields[fields.index(b"-") + 1])
    return ""


def _mount_lines() -> list[bytes]:
    try:
        return _MOUNTS.read_bytes().splitlines()
    except OSError:
        return []


def mounts_below(folder: Path) -> list[bytes]:
    """Return the mount points below a folder, sorted, including bind mounts of the same filesystem.

    The mount points are read from ``/proc/self/mountinfo`` (fifth field, in which blanks and backslashes are
    written in octal: proc(5)). If that file cannot be read, the result is empty. Mounts can then still be
    found by their device numbers, except bind mounts of the same filesystem.
    """
    above = os.path.join(os.fsencode(folder.resolve()), b"")
    return sorted({point for point in map(_mount_point, _mount_lines()) if point.startswith(above)})


def mounts_of(folder: Path) -> dict[bytes, bytes]:
    """Describe the mount that a folder lies on, and the mounts below the folder.

    The keys are paths relative to the folder, ``b""`` for the folder itself. The values are descriptions:
    the type of the file system, the mount point, and the folder of the file system that is mounted, if that
    is not its root. For network mounts and the like, the source is added. Names of disks such as
    ``/dev/sdb1`` are left out, because they can change when the host restarts.
    """
    root = os.path.realpath(os.fsencode(folder))  # never raises: a later step reports a loop of symlinks
    found: dict[bytes, bytes] = {}
    for line in _mount_lines():  # of several mounts on one point, the last is visible
        point = _mount_point(line)
        if point.startswith(os.path.join(root, b"")):
            found[os.path.relpath(point, root)] = _describe_mount(line)
    above = [line for line in _mount_lines() if _is_above(_mount_point(line), root)]
    if above:
        nearest = max(range(len(above)), key=lambda place: (len(_mount_point(above[place])), place))
        found[b""] = _describe_mount(above[nearest])
    return found


def _is_above(point: bytes, folder: bytes) -> bool:
    return os.path.join(folder, b"").startswith(os.path.join(point, b""))


def _describe_mount(line: bytes) -> bytes:
    fields = line.split()
    kind, source = fields[fields.index(b"-") + 1 :][:2]
    words = [kind] if source.startswith(b"/dev/") or source in (kind, b"none") else [kind, source]
    inside = [b"(folder", fields[3] + b")"] if fields[3] != b"/" else []
    return b" ".join([*words, *inside, b"on", fields[4]])


def _mount_point(line: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), line.split()[4])


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
