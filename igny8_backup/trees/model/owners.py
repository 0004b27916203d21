"""Look up user and group names by numeric id, and ids by name, and cache each result."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import NamedTuple


class Owner(NamedTuple):
    """The user and group that own a file. A name is ``""`` if this machine has none for the id."""

    uid: int
    gid: int
    user: str
    group: str


class Owners:
    """A cache of look-ups of users and groups of this machine.

    Make a new cache for each backup or restore: a process can live for weeks, and users are added and removed
    meanwhile.
    """

    def __init__(self) -> None:
        self.owner: Callable[[int, int], Owner] = cache(_owner)
        """Return the owner with this user id and group id."""
        self.ids: Callable[[str, int, str, int], tuple[int, int]] = cache(_ids)
        """Return the ids that the user and the group with these names have on this machine.

        Arguments: user, uid, group, gid. If the name is unknown, the id in the arguments is returned.
        """


def _owner(uid: int, gid: int) -> Owner:
    user = group = ""
    with suppress(KeyError):
        user = _text(pwd.getpwuid(uid).pw_name)
    with suppress(KeyError):
        group = _text(grp.getgrgid(gid).gr_name)
    return Owner(uid, gid, user, group)


def _ids(user: str, uid: int, group: str, gid: int) -> tuple[int, int]:
    with suppress(KeyError, ValueError):  # ValueError: a NUL, or a character that the locale cannot encode
        uid = pwd.getpwnam(user).pw_uid
    with suppress(KeyError, ValueError):
        gid = grp.getgrnam(group).gr_gid
    return uid, gid


def _text(name: str) -> str:
    # A name that the locale cannot decode holds lone surrogates, which JSON cannot store: use the id alone.
    return name if name.isprintable() else ""
