"""What is left out of a backup or a restore of a tree, wholly or in part, and why."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable

OnSkip = Callable[[bytes, str], None]
"""Told of each thing left out, wholly or in part: its path and the reason."""

IS_OURS = "belongs to igny8_backup"
CHANGED = "changed while it was read"
REPLACED = "replaced while the tree was read"
VANISHED = "vanished while the tree was read"
SPECIAL = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
NO_FAILURE = frozenset({IS_OURS, *SPECIAL.values()})
"""Reasons that are listed but are no failure: a backup never holds such things."""


def why(error: OSError) -> str:
    """The reason, for ``on_skip``, why something could not be read."""
    if error.errno == errno.ENOENT:
        return VANISHED
    if error.errno in (errno.ELOOP, errno.ENOTDIR):  # a symlink or a file where a moment ago there was none
        return REPLACED
    return f"cannot be read: {error.strerror}"
