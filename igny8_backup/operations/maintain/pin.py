"""Pin a backup, which protects it from the retention policy, or remove its pin."""

from __future__ import annotations

from igny8_backup.errors import UsageError
from igny8_backup.formats import keys
from igny8_backup.formats.documents.annotations import SCHEMA, Pin
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.documents import note_unsigned, store_signed
from igny8_backup.operations.history.safety_copies import is_held, release
from igny8_backup.operations.history.seen import read_seen
from igny8_backup.signing.trust import PIN, RELEASE

_UNCHANGED = "Nothing was changed."


def pin(context: BackupContext, backup_id: str, reason: str) -> Pin:
    """Pin a backup for ``reason``. A pin that the backup already has is replaced.

    Takes the lock, so that the backup cannot be pruned at the same time. Raises ``UsageError`` for an unknown
    id or an empty or unprintable reason, ``IntegrityError`` for an unreadable manifest, ``LockedError``.
    """
    require_reason(reason, "A pin")
    with context.locked("pinning a backup"):
        context.catalog.get(backup_id)
        made = Pin(schema=SCHEMA, id=backup_id, reason=reason.strip(), pinned=context.clock())
        store_signed(context, keys.pin_key(backup_id), PIN, made)
    return made


def unpin(context: BackupContext, backup_id: str) -> None:
    """Remove the pin of a backup, so that retention may remove the backup.

    First an object called a release is stored. It records that the pin is removed on purpose. Without it,
    hosts that remember the pin would report that the pin is gone. A safety copy (the backup that a restore in
    place makes first) counts as pinned until it is released in this way. Raises ``UsageError`` if the backup
    is not pinned; ``IdentityError`` if the signing key cannot be used.
    """
    pinned = keys.is_id(backup_id) and context.store.exists(keys.pin_key(backup_id))
    held = keys.is_id(backup_id) and is_held(context, backup_id)
    remembered = any(pin.id == backup_id for pin in read_seen(context).pins)
    if not (pinned or held or remembered):
        hint = "See which backups are pinned: python manage.py list_backups."
        raise UsageError(f"Backup {backup_id!r} is not pinned.", unchanged=_UNCHANGED, hint=hint)
    note_unsigned(context, RELEASE, "The end of the pin")
    if context.store.exists(keys.manifest_key(backup_id)):
        release(context, backup_id)
    if pinned:
        context.store.delete(keys.pin_key(backup_id))


def require_reason(reason: str, subject: str) -> None:
    """Raise ``UsageError`` if a reason is empty or unprintable.

    ``subject``, such as "A pin", says in the message what needs the reason.
    """
    if not reason.strip() or not reason.isprintable():
        what = f"{subject} needs a reason made of printable characters."
        hint = 'Say why, for whoever reads it later: --reason "before the move".'
        raise UsageError(what, unchanged=_UNCHANGED, hint=hint)
