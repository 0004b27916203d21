"""Read pins and results of checks from a store, and read and write the marks on orphans.

Orphans are objects in storage that belong to no backup.
"""

from __future__ import annotations

from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys, records
from igny8_backup.formats.annotations import SCHEMA, Annotations, Check, Mark, Marks, Pin
from igny8_backup.store.base import MissingObjectError, Store


def read_annotations(store: Store, backup_id: str = "") -> dict[str, Annotations]:
    """Return, by the id of the backup, the annotations of all backups, or only those of ``backup_id``.

    Annotations are pins and results of checks; backups that have none are absent. A pin that cannot be read
    still counts as a pin; a check that cannot be read is ignored.
    """
    pins: dict[str, Pin] = {}
    newest: dict[tuple[str, str], str] = {}
    for stored in store.list(keys.backup_folder(backup_id) if backup_id else keys.BACKUPS):
        parsed = keys.parse(stored.key)
        if parsed and parsed.kind == "pin":
            pins[parsed.backup_id] = _read_pin(store, parsed.backup_id)
        elif parsed and parsed.kind == "check":
            # Keys are listed in order, and the key of a check contains its time.
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
    """Return the marks on orphans that the last ``prune_backups`` found, for a later one to delete.

    The result is empty if the marks cannot be read. The next ``prune_backups`` then marks all orphans anew.
    """
    try:
        found = records.from_json(Marks, store.read_small(keys.MARKS), name="The marks", schema=SCHEMA)
    except (MissingObjectError, IntegrityError):
        return ()
    return found.marks


def write_marks(store: Store, marks: tuple[Mark, ...]) -> None:
    """Replace the marks on orphans (objects that belong to no backup) in ``store`` by ``marks``."""
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
