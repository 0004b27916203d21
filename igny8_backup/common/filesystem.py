"""Calls to the file system that also work where it lacks a feature.

Network, user-space and FAT file systems refuse calls that other file systems answer, each with an error of
its own. ``cannot`` distinguishes such a refusal from a failure. ``sync``, ``sync_folder`` and ``try_lock``
are the calls that storage, restore journals, locks and file trees share. ``replace_file`` writes the small
files that ``STATE_DIR`` keeps between runs.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
from contextlib import suppress
from pathlib import Path

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
"""Errors with which link(2) refuses a link that the file system cannot make: EPERM on FAT and exFAT."""


def ownership_hint(folder: Path) -> str:
    """Return a hint with the shell command that gives ``folder`` to the user of the application."""
    quoted = shlex.quote(str(folder))
    exists = os.path.lexists(folder)  # also false if this user may not look
    command = f"chown -R APPUSER {quoted}" if exists else f"mkdir -p {quoted} && chown APPUSER {quoted}"
    return f"Make the user of the application its owner: {command}."


def cannot(error: OSError) -> bool:
    """Return whether a call failed because the file system lacks a feature, not for another reason."""
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


def make_private(folder: Path) -> None:
    """Create ``folder``, and the folders above it that are missing, with mode 0700. Raises ``OSError``."""
    if not folder.is_dir():
        make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def replace_file(file: Path, content: bytes) -> None:
    """Write ``file`` (mode 0600), and create the missing folders above it (0700). Raises ``OSError``.

    After a crash the file has its old content or the new one.
    """
    make_private(file.parent)
    partial = file.with_name(f"{file.name}.{os.urandom(4).hex()}.partial")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            write_all(descriptor, content)
            sync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(partial, file)
        sync_folder(file.parent)
    except OSError:
        with suppress(OSError):
            partial.unlink()
        raise


def require_replaceable(file: Path) -> None:
    """Raise ``OSError`` if ``file`` is a folder, a device or a pipe, which a new file would replace."""
    if file.exists() and not file.is_file():
        raise OSError(errno.EINVAL, "it exists and is not a regular file")


def try_lock(descriptor: int, *, shared: bool = False, wait: bool = False) -> bool:
    """Lock an open file (flock(2)); return False where another open file holds the lock.

    The lock ends when the descriptor is closed. A ``shared`` lock excludes only locks that are not shared.
    With ``wait`` the call waits until the lock is free. Raises ``OSError`` where the file cannot be locked at
    all; it is then unknown whether another process uses it.
    """
    operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, operation if wait else operation | fcntl.LOCK_NB)
    except BlockingIOError:  # EWOULDBLOCK
        return False
    return True
