"""Find the folders that backups and swaps ignore, among those in the root of a tree.

Names are not enough to recognize them, because users of the application may be able to make folders with any
name. If a name were enough, a folder called ``.before-20261122T021500Z`` would hide files from every backup.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable

from igny8_backup.trees.model.names import LOST_AND_FOUND
from igny8_backup.trees.model.skips import IS_LOST_AND_FOUND, IS_OURS

TRIAL, TRIAL_FOLDER, TRIAL_FILE = b".igny8_backup-trial-", b"taken", b"file"
"""Names that ``swap.blockers`` uses to test renames.

They are the beginning of the name of the test folder, the name of the folder in it, and the name of the file
in that inner folder.
"""
_ROOT_INODES = (2, 3)  # of ext2 to ext4 and JFS, and of F2FS
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def left_alone(root: int, names: Iterable[bytes], own: Collection[bytes]) -> dict[bytes, str]:
    """Return those of ``names`` in the open ``root`` that backups and swaps ignore, each with the reason.

    ``own`` are the names of folders in this root that hold data of restores, such as the previous tree. (The
    journals of this host list these folders.) Two more kinds are recognized by what they are:

    * The ``lost+found`` of a file system. This folder belongs to the user root, and either it is empty, or it
      lies in the root of its file system and is closed to all other users.
    * Folders in which ``swap.blockers`` has tested renames, as long as they hold no data.
    """
    found = {}
    for name in names:
        if name in own or name.startswith(TRIAL) and is_trial(root, name):
            found[name] = IS_OURS
        elif name == LOST_AND_FOUND and _is_lost_and_found(root):
            found[name] = IS_LOST_AND_FOUND
    return found


def _is_lost_and_found(root: int) -> bool:
    try:
        status = os.lstat(LOST_AND_FOUND, dir_fd=root)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != 0:
            return False
        closed = not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        if closed and os.fstat(root).st_ino in _ROOT_INODES:
            return True
        return not _names(root, LOST_AND_FOUND)
    except OSError:
        return False


def is_trial(root: int, name: bytes) -> bool:
    """Return whether ``name`` in the open ``root`` is a test folder of ``swap.blockers``, without data.

    ``swap.blockers`` makes such a folder while it tests which entries can be renamed. The result is also True
    if the folder is empty or gone.
    """
    try:
        if _names(root, name) <= {TRIAL_FOLDER}:
            folder = os.path.join(name, TRIAL_FOLDER)
            file = os.path.join(folder, TRIAL_FILE)
            return _names(root, folder) <= {TRIAL_FILE} and not os.lstat(file, dir_fd=root).st_size
    except FileNotFoundError:
        return True  # empty, or gone
    except OSError:
        pass
    return False


def _names(root: int, folder: bytes) -> set[bytes]:
    fd = os.open(folder, _FOLDER, dir_fd=root)
    try:
        return set(map(os.fsencode, os.listdir(fd)))
    finally:
        os.close(fd)
