"""Calls to the file system that also work where it lacks a feature, and the errors that show the lack.

Network, user-space and FAT file systems refuse calls that other file systems answer, each with an error of
its own. ``cannot`` tells such a refusal from a failure. ``sync``, ``sync_folder`` and ``try_lock`` are the
calls that storage, restore journals, locks and file trees share.
"""

from __future__ import annotations

import errno
import fcntl
import os

UNSUPPORTED = frozenset(
    {
        errno.EINVAL,  # fsync(2) and renameat2(2) name it for a file system without the call
        errno.ENOTTY,  # the FUSE protocol: an unknown request
        errno.ENOSYS,
        errno.ENOTSUP,
        errno.EOPNOTSUPP,  # the same number as ENOTSUP on Linux, another one elsewhere
        errno.ENOLCK,  # flock(2) on NFS without a lock service
    }
)
"""Errors with which a file system says that it lacks a feature."""

LINKS_UNSUPPORTED = UNSUPPORTED | {errno.EPERM, errno.EMLINK}
"""The same for link(2), which answers EPERM on FAT and exFAT."""


def cannot(error: OSError) -> bool:
    """Whether the error says that the file system lacks the feature, rather than that a call failed."""
    return error.errno in UNSUPPORTED


def write_all(descriptor: int, data: bytes | bytearray | memoryview) -> None:
    """Write all of ``data``, with several calls of ``os.write`` if necessary. Raises ``OSError``."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync(descriptor: int) -> None:
    """Write an open file or folder to disk (fsync(2)), where the file system can. Raises ``OSError``."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not cannot(error):
            raise


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Write the names in a folder to disk, where the file system can. Raises ``OSError``."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def try_lock(descriptor: int, *, shared: bool = False, wait: bool = False) -> bool:
    """Lock an open file (flock(2)); return False where another open file holds the lock.

    The lock ends with the descriptor. With ``wait`` the call returns once the lock is free. Raises
    ``OSError`` where the file cannot be locked at all; another process may then hold it or not.
    """
    operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, operation if wait else operation | fcntl.LOCK_NB)
    except BlockingIOError:  # EWOULDBLOCK
        return False
    return True
