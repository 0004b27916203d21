"""Extend the S3 Object Locks of objects of earlier backups that a new backup needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from igny8_backup.errors import StorageError
from igny8_backup.formats import keys
from igny8_backup.formats.object_lock import ObjectLock
from igny8_backup.formats.objects import StoredObject, list_object
from igny8_backup.formats.parts.packed import PackedPart
from igny8_backup.operations.context import BackupContext
from igny8_backup.store.intact import find_intact


def extend_locks(
    context: BackupContext,
    backup_id: str,
    parts: Iterable[PackedPart],
    record_failure: Callable[[str, Exception], object],
) -> None:
    """Extend the locks of the objects of earlier runs that ``parts`` need.

    An extended lock lasts as long as the locks of this backup's new objects. A lock that lasts long enough is
    left as it is: see ``ObjectLock.is_short``. Call this before the manifest of the backup ``backup_id`` is
    written. If locks could not be extended, ``record_failure`` is called once, with ``"object lock"`` and an
    error that names the first of their objects.
    """
    lock = context.config.object_lock.get(context.alias)
    if lock is None:
        return
    earlier = {item.key: item for part in parts for item in (*part.objects(), *_lists(part))}
    failed: dict[str, StorageError] = {}
    for key, item in earlier.items():
        if keys.writer(key) != backup_id:
            try:
                _extend(context, lock, item)
            except StorageError as refusal:
                failed[key] = refusal
    if not failed:
        return
    key, first = next(iter(failed.items()))
    what, _, hint = first.parts
    others = f" {len(failed) - 1} more locks could not be extended either." if len(failed) > 1 else ""
    error = StorageError(
        f"The backup needs {key}, and the lock of this object could not be extended: {what}{others} When the"
        " present lock ends, anybody who may delete objects can delete this one.",
        unchanged="The backup itself is complete.",
        hint=f"{hint} Then run the backup again.",
    )
    record_failure("object lock", error)


def _lists(part: PackedPart) -> Iterator[StoredObject]:
    """Yield the lists in storage that describe the packs of a database or tree."""
    yield from (list_object(found) for found in {pack.named_in for pack in part.packs} if found)


def _extend(context: BackupContext, lock: ObjectLock, item: StoredObject) -> None:
    now = context.clock()
    if lock.is_short(context.store.locked_until(item.key), now):
        # If somebody overwrote the object, the version that was written is the one to keep.
        version = find_intact(context.store, item.key, sha256=item.sha256, size=item.stored_bytes)
        context.store.extend_lock(item.key, lock.until(now), version=version)
