"""Read a whole storage with few requests: a context that shows the storage as it was at one moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from igny8_backup.catalog.backups import Entry
from igny8_backup.catalog.snapshot.document_cache import DocumentCache
from igny8_backup.catalog.snapshot.snapshot_store import SnapshotStore
from igny8_backup.errors import StorageError
from igny8_backup.formats import keys
from igny8_backup.formats.manifest import Manifest
from igny8_backup.operations.context import BackupContext

T = TypeVar("T")

ATTEMPTS = 5
"""How often a storage is read whose manifests change meanwhile."""


def take_snapshot(context: BackupContext, *, use_collected: bool = True) -> BackupContext:
    """Return a context that lists each folder of the storage once, and reads each small object once.

    Such a context is for operations that read everything: see :class:`SnapshotStore`. The storage is listed
    when something is first read. If ``context`` shows a snapshot already, it is returned unchanged.
    ``use_collected`` is explained in :class:`SnapshotStore`.
    """
    if isinstance(context.store, SnapshotStore):
        return context
    store = SnapshotStore(context.store, _cache(context), use_collected=use_collected)
    return replace(context, store=store)


def without_snapshot(context: BackupContext) -> BackupContext:
    """Return a context that asks the storage itself, also if ``context`` shows a snapshot of it."""
    store = context.store
    return replace(context, store=store.current) if isinstance(store, SnapshotStore) else context


def unlisted_folders(context: BackupContext) -> dict[str, str]:
    """Return the folders that the snapshot could not list when it listed the storage, with the reasons."""
    return context.store.unlisted if isinstance(context.store, SnapshotStore) else {}


def snapshot_store(context: BackupContext) -> SnapshotStore:
    """Return the store of ``context``, which must show a snapshot."""
    assert isinstance(context.store, SnapshotStore)  # noqa: S101 - for the type checker
    return context.store


def read_current(context: BackupContext, backup_id: str) -> Manifest:
    """Read the manifest of a backup from the storage, and forget its documents in ``STATE_DIR``.

    Later snapshots then read these documents from the storage, too. Raises ``UsageError`` if the id is
    unknown, ``IntegrityError`` if the manifest is damaged, and ``StorageError``.
    """
    _cache(context).forget(keys.backup_folder(backup_id))
    return without_snapshot(context).catalog.get(backup_id)


def read_until_settled(
    context: BackupContext, read: Callable[[BackupContext], tuple[T, Iterable[Entry]]]
) -> tuple[BackupContext, T]:
    """Call ``read`` with a snapshot of the storage; return the snapshot, and what ``read`` has found.

    ``read`` also returns the backups on which decisions are based. Their manifests, which may have come from
    ``STATE_DIR``, are read from the storage. If one has changed, ``read`` is called with a new snapshot.

    Raises the errors of ``read``, and ``StorageError`` if manifests change again and again.
    """
    for attempt in range(ATTEMPTS):
        # The collected documents might bring back documents that were just forgotten.
        context = take_snapshot(context, use_collected=not attempt)
        found, entries = read(context)
        if not _forget_changed(context, list(entries)):
            return context, found
        context = without_snapshot(context)
    what = f"The manifests in {context.store.describe()} change while they are read."
    raise StorageError(what, hint="Find out who writes to the storage, then try again.")


def _forget_changed(context: BackupContext, entries: list[Entry]) -> bool:
    """Read the manifests of ``entries`` from the storage itself; return whether one of them has changed.

    The documents of changed backups in ``STATE_DIR`` are forgotten, so that the next snapshot reads them from
    the storage.
    """
    current = {entry.id: entry for entry in without_snapshot(context).catalog.entries(e.id for e in entries)}
    changed = [entry.id for entry in entries if _state(current.get(entry.id)) != _state(entry)]
    for backup_id in changed:
        _cache(context).forget(keys.backup_folder(backup_id))
    return bool(changed)


def _cache(context: BackupContext) -> DocumentCache:
    return DocumentCache(context.config.state_dir, context.store.identity())


def _state(entry: Entry | None) -> tuple[str, str, str] | None:
    """Return the properties of a backup that must not change while decisions are based on the backup."""
    return (entry.manifest_sha256, entry.problem, entry.untrusted) if entry else None
