"""The records that are written after a backup was made, such as pins, results of checks and acceptances.

They include marks on orphans, the objects in storage that belong to no backup. All these records can be read
without a key, so they contain nothing about the contents of backups.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from igny8_backup.formats.acceptance import Acceptance
from igny8_backup.formats.documents.spot_check import SpotCheck, SpotFinding

SCHEMA = 1
STORED, CONTENT, DRILLED = "stored", "content", "drill"
"""The depths of a check. ``STORED``: the stored bytes were read and compared with the manifest.
``CONTENT``: the archives were also decrypted and read. ``DRILLED``: the backup was restored."""
DEPTHS = (STORED, CONTENT, DRILLED)
"""The depths of a check, the most superficial first."""
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
class Release:
    """The record that a safety backup of ``restore_all --in-place`` is released: retention may remove it.

    ``manifest_sha256`` is the digest of the manifest of the backup.
    """

    schema: int
    id: str
    released: datetime
    manifest_sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class Damage:
    """A damaged object of a backup. ``kind`` is ``missing``, ``altered`` or ``unreadable``."""

    key: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class CheckedPart:
    """A database or tree that was verified or restored. ``kind`` is ``database`` or ``files``."""

    kind: str
    name: str


@dataclass(frozen=True, kw_only=True)
class ObjectDamage:
    """Damage of an object. A check of the backup ``backup_id`` found the damage at the time ``found``.

    ``kind`` is that of :class:`Damage`, ``depth`` that of the check.
    """

    key: str
    kind: str
    found: datetime
    depth: str = STORED
    backup_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Check:
    """The result of a verification or drill (practice restore) of a backup. It passed if ``damage`` is empty.

    ``depth`` is ``stored``, ``content`` or ``drill``. ``objects`` is the number of stored objects of the
    backup, ``read`` is how many of them the check read, and ``bytes`` is the size of what it read. ``sample``
    is the share of the objects that the check was asked to read, in percent. ``host`` made the backup.
    ``parts`` are the databases and trees that were verified or restored, and those in which damage was found
    although something else in them could not be read. ``None``, in checks of earlier releases, stands for
    every complete database and tree.

    ``sound`` are the keys of the objects that were read and found undamaged. ``None`` means all objects of
    the backup. It is also ``None`` in checks of earlier releases: see :meth:`sound_among`. ``known`` is
    damage that earlier checks of this depth found, in objects that this check did not read.
    ``manifest_sha256`` is the digest of the manifest that was checked; empty in checks of earlier releases.
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
    sound: tuple[str, ...] | None = None
    host: str = ""
    parts: tuple[CheckedPart, ...] | None = None
    known: tuple[ObjectDamage, ...] = ()
    manifest_sha256: str = ""

    def all_damage(self) -> tuple[ObjectDamage, ...]:
        """Return the damage that this check found, and ``known`` damage in objects that it did not read."""
        found = (
            ObjectDamage(
                key=item.key, kind=item.kind, found=self.started, depth=self.depth, backup_id=self.id
            )
            for item in self.damage
        )
        return (*found, *self.known)

    def sound_among(self, keys: Iterable[str]) -> set[str]:
        """Return those of ``keys``, of objects of the backup, that the check read and found undamaged."""
        if self.sound is not None:
            return set(self.sound).intersection(keys)
        if self.read >= self.objects and not self.damage:
            return set(keys)
        if self.depth == STORED and self.sample == 100:  # such a check reads every object that exists
            return set(keys) - {item.key for item in self.damage}
        return set()


@dataclass(frozen=True, kw_only=True)
class Removal:
    """The record that a backup is removed on purpose. It is written before the manifest is deleted.

    ``host`` made the backup. ``parts`` are its databases and trees, such as ``database:default``. ``reason``
    says why it is removed. ``manifest_sha256`` is the digest of the manifest; empty if the manifest was gone
    already.
    """

    schema: int
    id: str
    host: str
    reason: str
    removed: datetime
    parts: tuple[str, ...] = ()
    manifest_sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class DamageRecord:
    """Damage in backups that were removed after a check found it. Only earlier releases wrote this record."""

    schema: int
    damage: tuple[ObjectDamage, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """The annotations of a backup: its pin, its last check of each depth and part, newest first, and so on.

    ``spot`` is the last comparison with live data. ``release`` is set for a safety backup that may be
    removed. Where the settings name trusted keys, ``reported`` are the checks that no such key signed: the
    damage that they found raises an alarm, but they prove nothing. ``doubts`` are sentences about annotations
    without a trusted signature.
    """

    pin: Pin | None = None
    checks: tuple[Check, ...] = ()
    acceptance: Acceptance | None = None
    release: Release | None = None
    spot: SpotCheck | None = None
    reported: tuple[Check, ...] = ()
    doubts: tuple[str, ...] = ()

    def spot_alarms(self) -> tuple[SpotFinding, ...]:
        """Return the alarms of spot checks that nobody has accepted since they were found."""
        accepted = self.acceptance.parts if self.acceptance else ()
        since = {(item.kind, item.name): item.accepted for item in accepted}
        alarms = self.spot.findings if self.spot else ()
        return tuple(
            item
            for item in alarms
            if (when := since.get((item.kind, item.name))) is None or when < item.found
        )

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


@dataclass(frozen=True, kw_only=True)
class StorageMarker:
    """The marker of a storage, which the first backup writes.

    If the marker is missing later, the settings lead to another storage, or the storage is not mounted.
    ``id`` is a random text; ``host`` wrote the marker at the time ``started``.
    """

    schema: int
    id: str
    started: datetime
    host: str
