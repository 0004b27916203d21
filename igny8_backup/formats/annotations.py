"""What is added to a backup after it was made: a pin, the results of checks; and the marks on litter.

All of it is readable without a key, so it tells nothing about the contents.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys, records
from igny8_backup.store.base import MissingObjectError, Store

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


def read_annotations(store: Store, backup_id: str = "") -> dict[str, Annotations]:
    """Backup id -> what was added to it, of all or of one; backups without additions are absent.

    A pin that cannot be read is a pin all the same; a check that cannot is none.
    """
    pins: dict[str, Pin] = {}
    newest: dict[tuple[str, str], str] = {}
    for stored in store.list(keys.backup_folder(backup_id) if backup_id else keys.BACKUPS):
        parsed = keys.parse(stored.key)
        if parsed and parsed.kind == "pin":
            pins[parsed.backup_id] = _read_pin(store, parsed.backup_id)
        elif parsed and parsed.kind == "check":
            # Keys come sorted, and one of these tells its time.
            newest[parsed.backup_id, parsed.name] = stored.key
    checks: dict[str, list[Check]] = {}
    for (checked, _), key in newest.items():
        if check := _read_check(store, checked, key):
            checks.setdefault(checked, []).append(check)
    return {
        found: Annotations(
            pin=pins.get(found),
            checks=tuple(sorted(checks.get(found, ()), key=lambda item: item.started, reverse=True)),
        )
        for found in pins.keys() | checks.keys()
    }


def read_marks(store: Store) -> tuple[Mark, ...]:
    """The marks of the last sweep; none where they cannot be read: then litter is marked anew."""
    try:
        found = records.from_json(Marks, store.read_small(keys.MARKS), name="The marks", schema=SCHEMA)
    except (MissingObjectError, IntegrityError):
        return ()
    return found.marks


def write_marks(store: Store, marks: tuple[Mark, ...]) -> None:
    """Replaces all the marks."""
    if marks:
        store.put_small(keys.MARKS, records.to_json(Marks(schema=SCHEMA, marks=marks)))
    else:
        store.delete(keys.MARKS)


def _read_pin(store: Store, backup_id: str) -> Pin:
    try:
        data = store.read_small(keys.pin_key(backup_id))
        return records.from_json(Pin, data, name=f"The pin of backup {backup_id}", schema=SCHEMA)
    except (MissingObjectError, IntegrityError):
        reason = "the reason cannot be read"
        return Pin(schema=SCHEMA, id=backup_id, reason=reason, pinned=keys.id_time(backup_id))


def _read_check(store: Store, backup_id: str, key: str) -> Check | None:
    try:
        data = store.read_small(key)
        check = records.from_json(Check, data, name=f"The check {key}", schema=SCHEMA)
    except (MissingObjectError, IntegrityError):
        return None
    return check if check.id == backup_id else None
