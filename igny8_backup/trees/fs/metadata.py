"""Set owner, mode, attributes and time of restored files, folders and symlinks, as far as this user can."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from igny8_backup.common.filesystem import cannot
from igny8_backup.trees.model.owners import Owners
from igny8_backup.trees.model.records import Record
from igny8_backup.trees.model.skips import OnSkip
from igny8_backup.trees.model.xattrs import CAPABILITY, set_xattrs

_SET_ID = stat.S_ISUID | stat.S_ISGID
_HINT = "--allow-set-id restores them"


class Metadata:
    """Sets the metadata that the index records on restored files, folders and symlinks.

    Only root can set owners; a recorded user name that this machine has takes priority over the recorded id.
    ``owners_left`` counts the entries whose owner is not the recorded one. ``on_skip`` receives everything
    else that was not set.

    Set-id bits and capabilities of a file give more rights to every user who runs the file. So both are set
    only with ``allow_set_id``, and set-id bits only if also the owner is the recorded one. Set-group-id and
    sticky bits of a folder give no rights and are always set.
    """

    def __init__(self, *, allow_set_id: bool, on_skip: OnSkip) -> None:
        self.owners_left = 0
        self._allow_set_id = allow_set_id
        self._on_skip = on_skip
        self._owners = Owners()
        self._is_root = os.geteuid() == 0
        self._creator: tuple[int, int] | None = None

    def apply(self, fd: int, record: Record, *, exactly: bool = False) -> None:
        """Set the owner, mode, attributes and time in ``record`` on an open file or folder.

        Raises ``OSError`` if mode or time cannot be set. ``exactly`` also removes extended attributes that
        the record lacks. (A new file or folder has none to remove.)
        """
        self._apply(fd, record, _owner(os.fstat(fd)), exactly)

    def apply_to_new(self, fd: int, record: Record) -> None:
        """Set the metadata of a file that this process has just made, faster than ``apply``."""
        if self._creator is None:
            self._creator = _owner(os.fstat(fd))
        self._apply(fd, record, self._creator, exactly=False)

    def _apply(self, fd: int, record: Record, owner: tuple[int, int], exactly: bool) -> None:
        owned = self._own(record, owner, lambda uid, gid: os.fchown(fd, uid, gid))
        mode, xattrs = record.mode, record.xattrs
        if record.kind == "file" and mode & _SET_ID and not (self._allow_set_id and owned):
            mode &= ~_SET_ID
            why = "only root can set its owner" if self._allow_set_id else _HINT
            self._on_skip(record.path, f"its set-id bits were not set: {why}")
        if xattrs and record.kind == "file" and not self._allow_set_id and CAPABILITY in dict(xattrs):
            xattrs = tuple(pair for pair in xattrs if pair[0] != CAPABILITY)
            self._on_skip(record.path, f"its capabilities were not set: {_HINT}")
        try:
            os.fchmod(fd, mode)  # after the owner: chown(2) clears set-id bits
        except OSError as error:
            if not cannot(error):
                raise
            self._on_skip(record.path, f"its mode cannot be set: {error.strerror}")
        if xattrs or exactly:
            try:
                set_xattrs(fd, xattrs)  # after the mode: chmod(2) would change the mask of an ACL
            except OSError as error:
                self._on_skip(record.path, f"its extended attributes cannot be set: {error.strerror}")
        os.utime(fd, ns=(record.mtime_ns, record.mtime_ns))

    def apply_to_symlink(self, name: bytes, folder: int, record: Record) -> None:
        """Set owner and time of the symlink ``name`` in the open ``folder``. Raises ``OSError``."""
        status = os.lstat(name, dir_fd=folder)
        self._own(
            record,
            _owner(status),
            lambda uid, gid: os.chown(name, uid, gid, dir_fd=folder, follow_symlinks=False),
        )
        os.utime(name, ns=(record.mtime_ns, record.mtime_ns), dir_fd=folder, follow_symlinks=False)

    def _own(self, record: Record, owner: tuple[int, int], chown: Callable[[int, int], None]) -> bool:
        """Set the recorded owner and group with ``chown``, unless ``owner`` (the present ids) equals them.

        Return whether owner and group are now the recorded ones.
        """
        wanted = self._owners.ids(record.user, record.uid, record.group, record.gid)
        if owner == wanted:
            return True
        if self._is_root:
            try:
                chown(*wanted)
            except OSError as error:  # EPERM: root of a container without CAP_CHOWN
                if not isinstance(error, PermissionError) and not cannot(error):
                    raise
            else:
                return True
        self.owners_left += 1
        return False


def _owner(status: os.stat_result) -> tuple[int, int]:
    return status.st_uid, status.st_gid
