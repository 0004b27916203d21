"""Pin a backup, so that retention keeps it, or unpin it."""

from __future__ import annotations

from igny8_backup.errors import UsageError
from igny8_backup.formats import keys, records
from igny8_backup.formats.annotations import SCHEMA, Pin
from igny8_backup.operations.context import BackupContext

_UNCHANGED = "Nothing was changed."


def pin(context: BackupContext, backup_id: str, reason: str) -> Pin:
    """Pin a backup for ``reason``, which replaces the reason of an earlier pin.

    Takes the lock, so that the backup cannot be pruned at the same time. Raises ``UsageError`` for an unknown
    id or an empty or unprintable reason, ``IntegrityError`` for an unreadable manifest, ``LockedError``.
    """
    if not reason.strip() or not reason.isprintable():
        what = "A pin needs a reason made of printable characters."
        hint = 'Give the reason for keeping the backup: --reason "before the move".'
        raise UsageError(what, unchanged=_UNCHANGED, hint=hint)
    with context.locked("pinning a backup"):
        context.catalog.get(backup_id)
        made = Pin(schema=SCHEMA, id=backup_id, reason=reason.strip(), pinned=context.clock())
        context.store.put_small(keys.pin_key(backup_id), records.to_json(made))
    return made


def unpin(context: BackupContext, backup_id: str) -> None:
    """Remove the pin of a backup, so that retention may remove the backup.

    Raises ``UsageError`` if the backup is not pinned.
    """
    if not keys.is_id(backup_id) or not context.store.exists(keys.pin_key(backup_id)):
        hint = "See which backups are pinned: python manage.py list_backups."
        raise UsageError(f"Backup {backup_id!r} is not pinned.", unchanged=_UNCHANGED, hint=hint)
    context.store.delete(keys.pin_key(backup_id))
