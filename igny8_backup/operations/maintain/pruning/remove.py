"""Remove one backup: record the removal, delete the manifest, then the other objects in its folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from igny8_backup.errors import StorageError
from igny8_backup.formats import keys, records
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.documents import record_removal, why_unsigned
from igny8_backup.operations.maintain.inventory import Inventory
from igny8_backup.operations.maintain.pruning.locked import locked_manifests
from igny8_backup.operations.maintain.pruning.old_records import keep_checks
from igny8_backup.signing.trust import MANIFEST, REMOVAL, part_token

POLICY, UNTRUSTED = "the retention policy no longer keeps it", "it is not trusted"
"""Reasons for the removal of a backup. The record of the removal contains one of them."""
REPLACED = "its folder has the signature of another manifest, so somebody has replaced the manifest"
"""A reason against removing a backup: its folder could contain objects of a backup of another host."""


def why_not_removable(context: BackupContext, inventory: Inventory, backup_id: str) -> str:
    """Return why this host must not remove a backup; ``""`` if there is no reason against it.

    One reason is that ``TRUSTED`` would reject this host's signature of the removal record: the backup
    would then be reported as lost. Raises ``IdentityError`` and ``StorageError``.
    """
    entry = inventory.entry(backup_id)
    manifest = entry.manifest if entry else None
    if entry is None or manifest is None:
        return "its manifest cannot be read"
    signature = f"{keys.backup_folder(backup_id)}signatures/{MANIFEST}-"
    signed = (item.key for item in context.store.list(signature.rpartition("/")[0]))
    if any(key.startswith(signature) and entry.manifest_sha256[:32] not in key for key in signed):
        return REPLACED
    return why_unsigned(
        context, REMOVAL, manifest.host, [part_token(part.kind, part.name) for part in manifest.parts]
    )


def remove_backup(
    context: BackupContext, inventory: Inventory, backup_id: str, check: Callable[[], None], *, reason: str
) -> bool:
    """Remove a backup; return whether it was removed.

    The backup is kept if it has been pinned since the inventory was read, if its manifest is locked in the
    storage, or if its run has not ended. ``check`` raises if a lock was lost.

    If this function is interrupted after it has deleted the manifest, the remaining objects become orphans.
    Objects that are locked in the storage become orphans, too. A later run removes orphans. Raises
    ``StorageError``.
    """
    run = context.catalog.run(backup_id)
    if context.store.exists(keys.pin_key(backup_id)) or (run and run.is_alive(context.clock())):
        return False
    if locked_manifests(context, [backup_id]):
        return False  # the storage would not delete it
    check()
    entry = inventory.entry(backup_id)
    if entry is None or (manifest := entry.manifest) is None:
        return False
    keep_checks(context, manifest, inventory.stored_checks.get(backup_id, []))
    # First the records: a manifest that is missing without them is reported as lost.
    record_removal(
        context,
        backup_id,
        host=manifest.host,
        parts=[part_token(part.kind, part.name) for part in manifest.parts],
        reason=reason,
        digest=entry.manifest_sha256,
    )
    if run:
        pruned = replace(run, pruned=context.clock())
        context.store.put_small(keys.run_key(backup_id), records.to_json(pruned))
    context.store.delete(keys.manifest_key(backup_id))
    if context.store.exists(keys.manifest_key(backup_id)):
        raise StorageError(
            f"The storage still has the manifest of backup {backup_id} after its deletion.",
            unchanged="The objects of that backup were not removed.",
            hint="Check whether the credentials may delete objects, and prune again.",
        )
    sizes = {item.key: item.size for item in context.store.list(keys.backup_folder(backup_id))}
    for key in context.store.delete_several(list(sizes), check):  # locked objects become orphans
        context.progress.advance(sizes[key])
    return True
