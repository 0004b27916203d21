"""Records that are added to a backup after it was made: pins and results of checks; and marks on orphans.

They can be read without a key, so they contain nothing about the contents of backups.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

SCHEMA = 1
STORED, CONTENT, DRILLED = "stored", "content", "drill"
"""Depth of a check: the stored bytes were read; the archives were read to their end; a restore was made."""
MISSING, ALTERED, UNREADABLE = "missing", "altered", "unreadable"
"""Kinds of damage: the object does not exist; its bytes differ from those that were written; its bytes are
right, but its contents cannot be read or contradict the rest of the backup."""


@dataclass(frozen=True, kw_only=True)
class Pin:
    """Protects a backup from pruning, whatever the policy."""

    schema: int
    id: str
    reason: str
    pinned: datetime


@dataclass(frozen=True, kw_only=True)
class Damage:
    """A damaged object. ``kind`` is ``MISSING``, ``ALTERED`` or ``UNREADABLE``."""

    key: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class Check:
    """The result of a verification or drill. Without ``damage`` it was passed.

    Of the ``objects`` of the backup, ``read`` were read, with ``bytes`` as stored. ``sample`` is in percent.
    """

    schema: int
    id: str
    depth: str
    started: datetime
    finished: datetime
    sample: int
    objects: int
    read: int
    bytes: int
    damage: tuple[Damage, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """The pin of a backup, and its newest check of each depth, newest first."""

    pin: Pin | None = None
    checks: tuple[Check, ...] = ()

    @property
    def proven(self) -> bool:
        """Whether the newest drill restored the backup without damage."""
        return any(check.depth == DRILLED and not check.damage for check in self.checks)


@dataclass(frozen=True, kw_only=True)
class Mark:
    """An object, or an unfinished upload, that no manifest has named since ``since``."""

    key: str
    since: datetime
    upload_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Marks:
    """The marks of the last sweep."""

    schema: int
    marks: tuple[Mark, ...] = ()
