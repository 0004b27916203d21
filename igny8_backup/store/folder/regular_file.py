"""Open regular files only: a folder may contain links, named pipes and devices that somebody put there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from igny8_backup.errors import IntegrityError

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


def open_regular(path: Path) -> int:
    """Open the regular file ``path`` for reading; return its descriptor.

    Raises ``IsADirectoryError`` for a folder, and ``IntegrityError`` for everything else that is not a
    regular file: opening a named pipe, for example, would wait for a writer. Other exceptions
    are those of ``os.open``.
    """
    _require_regular(path, os.lstat(path).st_mode)  # first, because opening a device may have effects
    # The path may have become something else meanwhile, so nothing is followed or waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        _require_regular(path, os.fstat(descriptor).st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _require_regular(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(path)
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "no regular file")
        raise IntegrityError(
            f"{path} is {kind}; backups consist of regular files only.",
            unchanged="It was not opened.",
            hint="Find out who put it there, and delete it. If it replaced an object of a backup, use another"
            " backup.",
        )
