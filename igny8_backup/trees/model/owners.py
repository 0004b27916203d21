"""User and group names of numeric ids, and the reverse, with each look-up cached."""

from __future__ import annotations

import grp
import pwd
from contextlib import suppress
from typing import NamedTuple


class Owner(NamedTuple):
    """The user and group that own a file; a name is ``""`` where this machine has none for the id."""

    uid: int
    gid: int
    user: str
    group: str


class Owners:
    """Looks up users and groups of this machine; the cache lives as long as the object.

    Make one for each run, not one for the process: a worker lives for weeks, and users come and go.
    """

    def __init__(self) -> None:
        self._users: dict[int, str] = {}
        self._groups: dict[int, str] = {}
        self._ids: dict[tuple[str, int, str, int], tuple[int, int]] = {}
        self._owners: dict[tuple[int, int], Owner] = {}

    def owner(self, uid: int, gid: int) -> Owner:
        """These ids with their names."""
        owner = self._owners.get((uid, gid))
        if owner is None:
            owner = self._owners[uid, gid] = Owner(uid, gid, self.user(uid), self.group(gid))
        return owner

    def user(self, uid: int) -> str:
        """The user's name, ``""`` where this machine knows none."""
        name = self._users.get(uid)
        if name is None:
            try:
                name = _text(pwd.getpwuid(uid).pw_name)
            except KeyError:
                name = ""
            self._users[uid] = name
        return name

    def group(self, gid: int) -> str:
        """The group's name, ``""`` where this machine knows none."""
        name = self._groups.get(gid)
        if name is None:
            try:
                name = _text(grp.getgrgid(gid).gr_name)
            except KeyError:
                name = ""
            self._groups[gid] = name
        return name

    def ids(self, user: str, uid: int, group: str, gid: int) -> tuple[int, int]:
        """The ids of these names on this machine; the given number where a name is unknown here."""
        key = (user, uid, group, gid)
        ids = self._ids.get(key)
        if ids is None:
            with suppress(KeyError, ValueError):  # ValueError: a NUL, or what the locale cannot encode
                uid = pwd.getpwnam(user).pw_uid
            with suppress(KeyError, ValueError):
                gid = grp.getgrnam(group).gr_gid
            ids = self._ids[key] = (uid, gid)
        return ids


def _text(name: str) -> str:
    # A name that the locale could not decode holds lone surrogates, which JSON cannot: use the number alone.
    return name if name.isprintable() else ""
