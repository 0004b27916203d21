"""Read a whole storage with few requests: a context that shows the storage as it was at one moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from igny8_backup.catalog.backups import Entry
from igny8_backup.catalog.snapshot.document_cache import DocumentCache
from igny8_backup.catalog.snapshot.snapshot_store import SnapshotStore
from igny8_backup.formats import keys
from igny8_backup.operations.context import BackupContext


def take_snapshot(context: BackupContext) -> BackupContext:
    """Return a context that lists each folder of the storage once, and reads each small object once.

    Such a context is for operations that read everything: see :class:`SnapshotStore`. The storage is listed
    when something is first read. If ``context`` shows a snapshot already, it is returned unchanged.
    """
    if isinstance(context.store, SnapshotStore):
        return context
    return replace(context, store=SnapshotStore(context.store, _cache(context)))


def without_snapshot(context: BackupContext) -> BackupContext:
    """Return a context that asks the storage itself, also if ``context`` shows a snapshot of it."""
    store = context.store
    return replace(context, store=store.current) if isinstance(store, SnapshotStore) else context


def unlisted_folders(context: BackupContext) -> dict[str, str]:
    """Return the folders that the snapshot could not list when it listed the storage, with the reasons."""
    return context.store.unlisted if isinstance(context.store, SnapshotStore) else {}


def forget_changed(context: BackupContext, entries: Sequence[Entry]) -> bool:
    """Read the manifests of ``entries`` from the storage itself; return whether any is another one now.

    Its documents in ``STATE_DIR`` are forgotten, so that the next snapshot reads them. Raises
    ``StorageError`` if the storage cannot be used.
    """
    current = {entry.id: entry for entry in without_snapshot(context).catalog.entries(e.id for e in entries)}
    changed = [entry.id for entry in entries if _state(current.get(entry.id)) != _state(entry)]
    for backup_id in changed:
        forget_documents(context, backup_id)
    return bool(changed)


def forget_documents(context: BackupContext, backup_id: str) -> None:
    """Forget what this host has kept of the documents of a backup, so that they are read from the storage."""
    _cache(context).forget(keys.backup_folder(backup_id))


def _cache(context: BackupContext) -> DocumentCache:
    return DocumentCache(context.config.state_dir, context.store.identity())


def _state(entry: Entry | None) -> tuple[str, str, str] | None:
    """Return what must not change while a backup justifies the removal of others."""
    return (entry.manifest_sha256, entry.problem, entry.untrusted) if entry else None
