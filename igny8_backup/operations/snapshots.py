"""Read a whole storage with few requests: a context that shows the storage as it was at one moment."""

from __future__ import annotations

from dataclasses import replace

from igny8_backup.catalog.snapshot.document_cache import DocumentCache
from igny8_backup.catalog.snapshot.snapshot_store import SnapshotStore
from igny8_backup.operations.context import BackupContext


def take_snapshot(context: BackupContext) -> BackupContext:
    """Return a context that lists each folder of the storage once, and reads each small object once.

    Such a context is for operations that read everything: see :class:`SnapshotStore`. The storage is listed
    when something is first read. If ``context`` shows a snapshot already, it is returned unchanged.
    """
    if isinstance(context.store, SnapshotStore):
        return context
    cache = DocumentCache(context.config.state_dir, context.store.identity())
    return replace(context, store=SnapshotStore(context.store, cache))


def without_snapshot(context: BackupContext) -> BackupContext:
    """Return a context that asks the storage itself, also if ``context`` shows a snapshot of it."""
    store = context.store
    return replace(context, store=store.current) if isinstance(store, SnapshotStore) else context
