"""Remove untrusted backups that an operator has chosen. Retention removes no untrusted backups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from igny8_backup.catalog.backups import Entry
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.maintain.inventory import read_inventory
from igny8_backup.operations.maintain.pruning.remove import UNTRUSTED, remove_backup, why_not_removable


@dataclass(frozen=True, kw_only=True)
class UntrustedResult:
    """The ids of the backups that were ``removed``. ``kept`` maps the other ids to the reasons."""

    removed: tuple[str, ...] = ()
    kept: dict[str, str] = field(default_factory=dict)

    def problems(self) -> list[str]:
        """Return one line for each backup that was not removed."""
        return [f"NOT REMOVED: backup {backup_id}: {reason}." for backup_id, reason in self.kept.items()]


def untrusted_backups(context: BackupContext) -> list[Entry]:
    """Return the backups without a trusted signature, newest first. Raises ``StorageError``."""
    return [entry for entry in context.catalog.entries() if entry.untrusted]


def remove_untrusted(context: BackupContext, ids: Sequence[str]) -> UntrustedResult:
    """Remove each of the backups ``ids`` that still has no trusted signature and is not pinned.

    Packs (tar archives of files) that only removed backups need become orphans. prune_backups removes them.
    Raises ``LockedError``, ``IdentityError`` and ``StorageError``.
    """
    removed: list[str] = []
    kept: dict[str, str] = {}
    with context.locked("removing untrusted backups") as locks:

        def check() -> None:
            for lock in locks:
                lock.check(unchanged="Nothing else was removed.")

        inventory = read_inventory(context)
        untrusted = {entry.id for entry in inventory.entries if entry.untrusted}
        for backup_id in ids:
            if backup_id not in untrusted:
                kept[backup_id] = "it is gone, or it has a trusted signature now"
            elif reason := why_not_removable(context, inventory, backup_id):
                kept[backup_id] = reason
            elif remove_backup(context, inventory, backup_id, check, reason=UNTRUSTED):
                removed.append(backup_id)
            else:
                kept[backup_id] = "it is pinned, or its run has not ended"
    return UntrustedResult(removed=tuple(removed), kept=kept)
