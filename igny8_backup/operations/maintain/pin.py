"""Keeps a backup whatever the policy says, or no longer."""

from __future__ import annotations

from igny8_backup.errors import UsageError
from igny8_backup.formats import keys, records
from igny8_backup.formats.annotations import SCHEMA, Pin
from igny8_backup.operations.context import BackupContext

_UNCHANGED = "Nothing was changed."


def pin(context: BackupContext, backup_id: str, reason: str) -> Pin:
    """Pins a backup; a new reason replaces the old one.

    Under the lock, so that it never comes between the decision to remove a backup and its removal. Raises
    ``UsageError`` for an unknown id or a reason that says nothing, ``IntegrityError`` for an unreadable
    manifest, ``LockedError``.
    """
    if not reason.strip() or not reason.isprintable():
        raise UsageError(
            "A pin needs a reason, in characters that can be printed.",
            unchanged=_UNCHANGED,
            hint='Say why it is kept: --reason "before the move".',
        )
    with context.locked("pinning a backup"):
        context.catalog.get(backup_id)
        made = Pin(schema=SCHEMA, id=backup_id, reason=reason.strip(), pinned=context.clock())
        context.store.put_small(keys.pin_key(backup_id), records.to_json(made))
    return made


def unpin(context: BackupContext, backup_id: str) -> None:
    """Leaves a backup to the policy again. Raises ``UsageError`` where it is not pinned."""
    if not keys.is_id(backup_id) or not context.store.exists(keys.pin_key(backup_id)):
        raise UsageError(
            f"Backup {backup_id!r} is not pinned.",
            unchanged=_UNCHANGED,
            hint="See what is: python manage.py list_backups.",
        )
    context.store.delete(keys.pin_key(backup_id))
