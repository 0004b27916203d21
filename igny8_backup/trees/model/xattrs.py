"""Extended attributes worth keeping: those of users, POSIX ACLs, and file capabilities.

Linux keeps an ACL in the attributes ``system.posix_acl_access`` and ``system.posix_acl_default``
(acl(5), xattr(7)), in numeric ids. ``security.selinux`` and its like belong to the machine's policy
and are left to it.
"""

from __future__ import annotations

import errno
import os

from igny8_backup.trees.model.skips import OnSkip, why

ACCESS_ACL = "system.posix_acl_access"
DEFAULT_ACL = "system.posix_acl_default"
CAPABILITY = "security.capability"

SIZE_LIMIT = 128 * 1024
"""Bytes of names and values for one file; ext4 holds 4 KiB, others up to 64 KiB in a value."""

Xattrs = tuple[tuple[str, bytes], ...]


def is_kept(name: str) -> bool:
    """Whether an attribute of this name is backed up."""
    return name.startswith("user.") or name in (ACCESS_ACL, DEFAULT_ACL, CAPABILITY)


def read_xattrs(fd: int) -> Xattrs:
    """The attributes of an open file or folder that are kept, sorted by name.

    ``OSError`` (E2BIG) when they are more than ``SIZE_LIMIT`` bytes. None where the filesystem has
    none.
    """
    try:
        names = os.listxattr(fd)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENOSYS):
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
        raise OSError(errno.E2BIG, "more extended attributes than can be kept")
    return tuple(found)


def read_or_tell(path: bytes, fd: int, on_skip: OnSkip) -> Xattrs:
    """As ``read_xattrs``; none, and ``on_skip`` is told, where they cannot be read."""
    try:
        return read_xattrs(fd)
    except OSError as error:
        on_skip(path, f"its extended attributes {why(error).removeprefix('cannot ')}")
        return ()


def set_xattrs(fd: int, wanted: Xattrs) -> None:
    """Give an open file or folder exactly these of the kept attributes.

    ``OSError`` when one is refused; the others are set all the same.
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
