"""Delete the old records of fleet backups that have no backup left, and of fleet restores that have ended."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta

from igny8_backup.catalog.backups import Entry
from igny8_backup.catalog.fleet_restores import read_host, read_restore
from igny8_backup.catalog.fleets import fleet_ids, read_fleet
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys
from igny8_backup.operations.context import BackupContext

_OF_BACKUP = frozenset({"fleet", "fleet_part", "fleet_restored", "signature"})
_OF_RESTORE = frozenset({"fleet_restore", "fleet_restore_part", "signature"})
"""The kinds of objects in the folders of a fleet backup and of a fleet restore. A folder with others is left
alone."""


def forget_fleets(
    context: BackupContext,
    entries: Sequence[Entry],
    existing: Collection[str],
    check_locks: Callable[[], None],
    *,
    kept_for: timedelta,
) -> None:
    """Delete the records of fleet backups that are older than ``kept_for`` and have no backup left.

    The records of fleet restores of this age are deleted too, unless a host has still something to do.
    ``entries`` are all backups, ``existing`` their ids and those of lost backups. ``check_locks`` raises if a
    lock was lost. Raises ``StorageError``.
    """
    unreadable = any(entry.manifest is None for entry in entries)
    needed = {entry.manifest.fleet for entry in entries if entry.manifest}
    for fleet_id in sorted(fleet_ids(context.store)):
        if fleet_id in needed or context.clock() - keys.id_time(fleet_id) <= kept_for:
            continue
        found = [item.key for item in context.store.list(keys.fleet_folder(fleet_id))]
        kinds = {key: parsed.kind if (parsed := keys.parse(key)) else "" for key in found}
        if _OF_RESTORE.issuperset(kinds.values()):
            forgettable = not _awaits_a_host(context, fleet_id)
        else:
            # A manifest that cannot be read could be that of a part.
            forgettable = (
                _OF_BACKUP.issuperset(kinds.values())
                and not unreadable
                and not _is_needed(context, fleet_id, existing)
            )
        if forgettable:
            _delete(context, kinds, check_locks)


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


def _awaits_a_host(context: BackupContext, restore_id: str) -> bool:
    """Return whether a host may still need the record of a fleet restore, or a document cannot be read.

    A host that has prepared its part, and was then switched off for months, learns from the record whether
    to swap.
    """
    trust = context.config.trust
    try:
        record = read_restore(context.store, trust, restore_id)
        if record is None:
            return False
        found = [read_host(context.store, trust, restore_id, host) for host in record.hosts]
    except IntegrityError:
        return True
    return record.is_alive(context.clock()) or any(one is not None and not one.ended for one in found)


def _delete(context: BackupContext, kinds: Mapping[str, str], check_locks: Callable[[], None]) -> None:
    """Delete the records with these keys, then their signatures, which prove nothing without them."""
    for key in sorted(kinds, key=lambda key: kinds[key] == "signature"):
        check_locks()
        context.store.delete(key)
