"""What is added to a backup after it was made: a pin, the results of checks; and the marks on litter.

All of it is readable without a key, so it tells nothing about the contents.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

SCHEMA = 1
STORED, CONTENT, DRILLED = "stored", "content", "drill"
"""How deep a check went: the stored bytes; what is in them, to the end of each archive; a restore of it."""
MISSING, ALTERED, UNREADABLE = "missing", "altered", "unreadable"
"""What can be wrong with an object: it is not there; its bytes are not those that were written; they are,
and still its contents cannot be read, or contradict the rest of the backup."""


@dataclass(frozen=True, kw_only=True)
class Pin:
    """Keeps a backup whatever the policy says."""

    schema: int
    id: str
    reason: str
    pinned: datetime


@dataclass(frozen=True, kw_only=True)
class Damage:
    """An object with which something is wrong: ``kind`` is one of the words above."""

    key: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class Check:
    """The result of a verification: passed where there is no ``damage``.

    Of ``objects`` of the backup ``read`` were read, ``bytes`` as stored; ``sample`` is in percent.
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
    """The pin of a backup, and the newest check of each depth, the newest first."""

    pin: Pin | None = None
    checks: tuple[Check, ...] = ()

    @property
    def proven(self) -> bool:
        """Whether the newest drill restored it as it was."""
        return any(check.depth == DRILLED and not check.damage for check in self.checks)


@dataclass(frozen=True, kw_only=True)
class Mark:
    """An object (or an unfinished upload) that no manifest named ``since`` then."""

    key: str
    since: datetime
    upload_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Marks:
    """All the marks."""

    schema: int
    marks: tuple[Mark, ...] = ()
