"""Extended attributes that are backed up: those named ``user.*``, POSIX ACLs, and file capabilities.

Linux stores an ACL in the attributes ``system.posix_acl_access`` and ``system.posix_acl_default`` (acl(5),
xattr(7)), with numeric ids. ``security.selinux`` and similar attributes belong to the policy of the machine
and are not backed up.
"""

from __future__ import annotations

import errno
import os

from igny8_backup.common.filesystem import cannot
from igny8_backup.trees.model.skips import OnSkip, why

ACCESS_ACL = "system.posix_acl_access"
DEFAULT_ACL = "system.posix_acl_default"
CAPABILITY = "security.capability"

SIZE_LIMIT = 128 * 1024
"""Largest number of bytes in the names and values of all attributes of one file.

(ext4 stores 4 KiB for each file, XFS 64 KiB for each value.)
"""

Xattrs = tuple[tuple[str, bytes], ...]


def is_kept(name: str) -> bool:
    """Return whether extended attributes of this name are backed up."""
    return name.startswith("user.") or name in (ACCESS_ACL, DEFAULT_ACL, CAPABILITY)


def read_xattrs(fd: int) -> Xattrs:
    """Return the extended attributes of an open file or folder, sorted by name: only those to back up.

    The result is empty if the filesystem has no attributes. Raises ``OSError``, with the ``errno`` E2BIG if
    the attributes have more than ``SIZE_LIMIT`` bytes.
    """
    try:
        names = os.listxattr(fd)
    except OSError as error:
        if cannot(error):
            return ()
        raise
    if not names:
        return ()
    found: list[tuple[str, bytes]] = []
    size = 0
    for name in sorted(names):
        if is_kept(name):
            try:
                value = os.getxattr(fd, name)
            except OSError as error:
                if error.errno == errno.ENODATA:
                    continue
                raise
            found.append((name, value))
            size += len(name) + len(value)
    if size > SIZE_LIMIT:
        raise OSError(errno.E2BIG, "more extended attributes than a backup holds")
    return tuple(found)


def read_xattrs_or_skip(path: bytes, fd: int, on_skip: OnSkip) -> Xattrs:
    """Return the attributes of the open file or folder ``path``, as ``read_xattrs`` does.

    If the attributes cannot be read, call ``on_skip`` and return an empty tuple.
    """
    try:
        return read_xattrs(fd)
    except OSError as error:
        on_skip(path, f"its extended attributes {why(error).removeprefix('cannot ')}")
        return ()


def set_xattrs(fd: int, wanted: Xattrs) -> None:
    """Set the extended attributes of an open file or folder to ``wanted``.

    Other attributes are removed, except those of kinds that are never backed up (``is_kept``). If an
    attribute cannot be set, the rest of ``wanted`` is set all the same, and then ``OSError`` is raised.
    """
    refusal: OSError | None = None
    present = dict(read_xattrs(fd))
    for name in present.keys() - dict(wanted).keys():
        os.removexattr(fd, name)
    for name, value in wanted:
        if present.get(name) != value:
            try:
                os.setxattr(fd, name, value)
            except OSError as error:
                refusal = refusal or error
    if refusal:
        raise refusal
