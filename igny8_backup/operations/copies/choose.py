"""Choose the backups that a copy should have, and say why others must not be copied."""

from __future__ import annotations

from dataclasses import replace

from igny8_backup.catalog.backups import Entry
from igny8_backup.catalog.removals import Removals
from igny8_backup.conf import CopyTarget
from igny8_backup.errors import UsageError
from igny8_backup.formats.documents.annotations import CheckedPart
from igny8_backup.formats.manifest import COMPLETE, Manifest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.maintain.inventory import Inventory
from igny8_backup.retention.policy import Part


def choose_entries(
    source: BackupContext, inventory: Inventory, target: CopyTarget, *, backup_id: str = "", host: str = ""
) -> list[Entry]:
    """Return the backups that the copy ``target`` should have, newest first.

    These are the backups that the retention policy of the copy keeps, because ``prune_backups`` would remove
    any others from the copy. With ``host``, only backups of that host are returned. With ``backup_id``, only
    that backup is returned, whatever the policy says. Raises ``UsageError`` for an unknown id.
    """
    entries = inventory.entries
    if backup_id:
        chosen = [entry for entry in entries if entry.id == backup_id]
        if not chosen:
            raise UsageError(
                f"There is no backup {backup_id!r} in {source.store.describe()}.",
                unchanged="Nothing was copied.",
                hint="List the ids with: python manage.py list_backups.",
            )
        return chosen
    plan = inventory.plan(replace(source.config, retention=target.retention))
    removable = set(plan.to_remove)
    return [
        entry
        for entry in entries
        if entry.id not in removable
        and (not host or (entry.manifest and entry.manifest.host == host))
        and (entry.manifest is None or held_parts(entry.manifest, target))
    ]


def held_parts(manifest: Manifest, target: CopyTarget) -> tuple[CheckedPart, ...]:
    """Return the databases and trees that are complete in a backup and that the copy ``target`` gets."""
    return tuple(
        CheckedPart(kind=item.kind, name=item.name)
        for item in manifest.parts
        if item.state == COMPLETE and target.holds(item.kind, item.name)
    )


def why_not(inventory: Inventory, entry: Entry, target: CopyTarget) -> str:
    """Return why a backup must not be copied, for example because it is damaged; ``""`` if it may be copied.

    ``inventory`` is that of the storage that the backup is in. Databases and trees that the copy ``target``
    does not get are ignored.
    """
    manifest = entry.manifest
    if manifest is None:
        return f"its manifest cannot be read: {entry.problem}"
    if entry.untrusted:
        return f"it is not trusted: {entry.untrusted}"
    held = held_parts(manifest, target)
    unfit = [
        copy
        for copy in inventory.standings.of_backup(entry.id)
        if not copy.fit and CheckedPart(kind=copy.part.kind, name=copy.part.name) in held
    ]
    if unfit:
        return "; ".join(f"{copy.part.name} is {copy.why}" for copy in unfit)
    alarms = inventory.spot_alarms()
    for item in held:
        if alarm := alarms.get(Part(host=manifest.host, kind=item.kind, name=item.name)):
            return f"{item.name} has an alarm that nobody has accepted: {alarm}"
    return "" if held else "it has no complete database or tree to copy"


def was_removed(copy: BackupContext, inventory: Inventory, backup_id: str) -> bool:
    """Return whether somebody removed a backup from the copy on purpose.

    ``inventory`` is that of the storage of the copy. Raises ``StorageError``.
    """
    run = next((run for run in inventory.runs if run.id == backup_id), None)
    return Removals(copy.store, copy.config.trust).explain(backup_id, run)
