"""Run programs as another user of this machine, if this process is root."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Account:
    """A user of this machine: its name, its user id, and the id of its primary group."""

    name: str
    uid: int
    gid: int

    @property
    def switch(self) -> dict[str, Any]:
        """The arguments for ``subprocess.Popen`` that make a program run as this user."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def may_enter(self, folder: Path) -> bool:
        """Return whether the modes of ``folder`` and of all folders above it let this user enter them."""
        for path in (folder, *folder.parents):
            found = path.stat()
            bit = 0o100 if found.st_uid == self.uid else 0o010 if found.st_gid == self.gid else 0o001
            if not found.st_mode & bit:
                return False
        return True


def is_root() -> bool:
    """Return whether this process may run programs as other users."""
    return os.geteuid() == 0


def restore_account(name: str) -> Account | None:
    """Return the user that programs of a restore run as; ``None`` means the user of this process.

    ``name`` is the setting ``RESTORE_USER``. The result is ``None`` if ``name`` is empty or ``root``, if
    there is no such user, or if this process is not root.
    """
    found = find_account(name) if name and is_root() else None
    return found if found and found.uid else None


def find_account(name: str) -> Account | None:
    """Return the user ``name`` of this machine; ``None`` if there is no such user."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(name, found.pw_uid, found.pw_gid)


def become(uid: int = 0, gid: int = 0) -> None:
    """Give up all rights of root for good, and continue as another user. A ``uid`` of 0 changes nothing."""
    if uid:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
