"""Reasons why a backup skips a path, or a restore restores it only in part.

``OnSkip`` is the type of the callbacks that receive the path and the reason.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable

OnSkip = Callable[[bytes, str], None]
"""Called with the path and the reason for each file, folder or link that is skipped, entirely or in part."""

IS_OURS = "belongs to igny8_backup"
IS_LOST_AND_FOUND = "belongs to the file system"
CHANGED = "changed while it was read"
REPLACED = "replaced while the tree was read"
VANISHED = "vanished while the tree was read"
SPECIAL = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
NO_FAILURE = frozenset({IS_OURS, IS_LOST_AND_FOUND, *SPECIAL.values()})
"""Reasons that do not count as failures: backups leave out such paths on purpose."""


def why(error: OSError) -> str:
    """Return in words why a path could not be read. Reading it raised ``error``."""
    if error.errno == errno.ENOENT:
        return VANISHED
    if error.errno in (errno.ELOOP, errno.ENOTDIR):  # a symlink or file took the place of a file or folder
        return REPLACED
    return f"cannot be read: {error.strerror}"
