"""Delete the old records of fleet backups that have no backup left."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import timedelta

from igny8_backup.catalog.backups import Entry
from igny8_backup.catalog.fleets import fleet_ids, read_fleet
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys
from igny8_backup.operations.context import BackupContext

_KINDS = frozenset({"fleet", "fleet_part", "fleet_restored", "signature"})
"""The kinds of objects in the folder of a fleet backup. A folder with others is left alone."""


def forget_fleets(
    context: BackupContext,
    entries: Sequence[Entry],
    existing: Collection[str],
    check_locks: Callable[[], None],
    *,
    kept_for: timedelta,
) -> None:
    """Delete the records of fleet backups that are older than ``kept_for`` and have no backup left.

    ``entries`` are all backups, ``existing`` their ids and those of lost backups. ``check_locks`` raises if a
    lock was lost. Raises ``StorageError``.
    """
    if any(entry.manifest is None for entry in entries):
        return  # a manifest that cannot be read could be that of a part
    needed = {entry.manifest.fleet for entry in entries if entry.manifest}
    for fleet_id in sorted(fleet_ids(context.store)):
        if fleet_id in needed or context.clock() - keys.id_time(fleet_id) <= kept_for:
            continue
        if not _is_needed(context, fleet_id, existing):
            _delete(context, fleet_id, check_locks)


def _is_needed(context: BackupContext, fleet_id: str, existing: Collection[str]) -> bool:
    """Return whether the record names an existing backup, or its coordinator is at work."""
    try:
        found = read_fleet(context.store, context.config.trust, fleet_id)
    except IntegrityError:
        return False  # no manifest names it
    if found is None:
        return False
    parts = {part.backup_id for part in found.record.parts}
    return found.record.is_alive(context.clock()) or not parts.isdisjoint(existing)


def _delete(context: BackupContext, fleet_id: str, check_locks: Callable[[], None]) -> None:
    """Delete the records of a fleet backup, then their signatures, which prove nothing without them."""
    listed = [item.key for item in context.store.list(keys.fleet_folder(fleet_id))]
    kinds = {key: found.kind if (found := keys.parse(key)) else "" for key in listed}
    if not _KINDS.issuperset(kinds.values()):
        return
    for key in sorted(listed, key=lambda key: kinds[key] == "signature"):
        check_locks()
        context.store.delete(key)
