"""Test whether folders have room for a given number of bytes, by reserving the space for a moment.

``statvfs`` knows neither the quotas of users nor, on some file systems, those of projects and subvolumes. The
kernel does: it refuses to reserve the space with EDQUOT or ENOSPC. Nothing is written.

Two kinds of quotas cannot be tested like this:

* Quotas of inodes. They refuse a file when it is created, so the test would have to create as many files as
  the tree has. For a million files that takes more than a minute.
* Quotas of users other than the owner of the folder. Only the encrypted index names the owners of the
  restored files. (These quotas matter only to a process that can give files to other users and is not exempt
  from quotas.)

If one of these quotas is too small, the restore fails while it fills its staging folder, before anything live
is changed. Sources: fallocate(2), open(2) on ``O_TMPFILE``, quotactl(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from igny8_backup.trees.fs.linux import file_system_type

_KEEP_SIZE = 1
_LARGEST_FILE = 1 << 40  # less than the largest file of common file systems
_IN_MEMORY = ("tmpfs", "ramfs")

_libc = ctypes.CDLL(None, use_errno=True)


def refused_reservations(wanted: Sequence[tuple[Path, int]]) -> list[OSError | None]:
    """Reserve space in all folders at the same time, and release it at once.

    ``wanted`` holds folders, each with the number of bytes to reserve in it. Returns, for each folder, the
    error with which the kernel refused the space (EDQUOT or ENOSPC), or None. None can also mean that the
    space was not tested: the file system cannot reserve space, the folder cannot be written, or the file
    system is in memory (there the reservation would take that memory).
    """
    with ExitStack() as files:
        return [_try(folder, size, files) for folder, size in wanted]


def _try(folder: Path, size: int, files: ExitStack) -> OSError | None:
    try:
        status = os.stat(folder)
        if file_system_type(status.st_dev) in _IN_MEMORY:
            return None
        while size > 0:
            # Without a name, so that nothing is left if the process is killed.
            unnamed = tempfile.TemporaryFile(dir=folder, prefix=".igny8_backup-space-")  # noqa: SIM115 - ``files`` closes it
            file = files.enter_context(unnamed)
            with suppress(OSError):  # the restored files get owners, whose quotas count
                os.fchown(file.fileno(), status.st_uid, status.st_gid)
            _reserve(file.fileno(), min(size, _LARGEST_FILE))
            size -= _LARGEST_FILE
    except OSError as error:
        return error if error.errno in (errno.EDQUOT, errno.ENOSPC) else None
    return None


def _reserve(descriptor: int, size: int) -> None:
    call = getattr(_libc, "fallocate64", None) or getattr(_libc, "fallocate", None)
    if call is None:
        return
    while call(descriptor, _KEEP_SIZE, ctypes.c_longlong(0), ctypes.c_longlong(size)) != 0:
        number = ctypes.get_errno()
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
