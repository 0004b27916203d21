"""The records that are written after a backup was made: pins, results of checks, and marks on orphans.

Orphans are objects in storage that belong to no backup.

These records can be read without a key, so they contain nothing about the contents of backups.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

SCHEMA = 1
STORED, CONTENT, DRILLED = "stored", "content", "drill"
"""The depths of a check. ``STORED``: the stored bytes were read and compared with the manifest.
``CONTENT``: the archives were also decrypted and read. ``DRILLED``: the backup was restored."""
MISSING, ALTERED, UNREADABLE = "missing", "altered", "unreadable"
"""The kinds of damage. ``MISSING``: the object does not exist. ``ALTERED``: its bytes differ from those that
were written. ``UNREADABLE``: its bytes are right, but its contents cannot be read or contradict others."""


@dataclass(frozen=True, kw_only=True)
class Pin:
    """The pin of a backup: ``prune_backups`` keeps the backup, whatever the retention policy says."""

    schema: int
    id: str
    reason: str
    pinned: datetime


@dataclass(frozen=True, kw_only=True)
class Damage:
    """A damaged object of a backup. ``kind`` is ``missing``, ``altered`` or ``unreadable``."""

    key: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class Check:
    """The result of a verification or drill (practice restore) of a backup. It passed if ``damage`` is empty.

    ``depth`` is ``stored``, ``content`` or ``drill``. The backup has ``objects`` stored objects; the check
    read the number ``read`` of them, in total ``bytes`` bytes. ``sample`` is the share of the objects that
    the check was asked to read, in percent.
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
    """The pin of a backup, and its last check of each depth (stored, content, drill), newest first."""

    pin: Pin | None = None
    checks: tuple[Check, ...] = ()

    @property
    def proven(self) -> bool:
        """Whether the newest drill (practice restore) restored the backup without damage."""
        return any(check.depth == DRILLED and not check.damage for check in self.checks)


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A mark on an orphan: an object or upload that has belonged to no backup since ``since``.

    ``prune_backups`` deletes the orphan later. ``upload_id`` is set for an unfinished upload.
    """

    key: str
    since: datetime
    upload_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Marks:
    """All marks on orphans (objects that belong to no backup), as the last ``prune_backups`` left them."""

    schema: int
    marks: tuple[Mark, ...] = ()
