"""Find out from listings whether everything that manifests and run records name is in storage.

The named objects are not read. An object that the listings lack is looked up once more: it may have been
written since the listing, and in some storages an object can be read before it is listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from igny8_backup.catalog.backups import Entry
from igny8_backup.catalog.removals import Removals
from igny8_backup.catalog.snapshot.snapshot_store import SnapshotStore
from igny8_backup.formats import keys
from igny8_backup.formats.documents.annotations import ALTERED, MISSING, ObjectDamage
from igny8_backup.formats.documents.run_record import RunRecord
from igny8_backup.formats.manifest import Manifest
from igny8_backup.formats.objects import StoredObject
from igny8_backup.formats.parts.listed_packs import ListedPacks, PackGroup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.read.snapshot import snapshot_store, unlisted_folders, without_snapshot
from igny8_backup.store import MissingObjectError, Store
from igny8_backup.store.intact import size_with_versions

CONFIRMED = 50
"""How many unlisted objects are looked up one by one. Further ones count as absent without a look-up."""


def absent_objects(
    context: BackupContext, manifests: Sequence[Manifest], now: datetime
) -> Iterator[ObjectDamage]:
    """Yield damage for each object that a manifest names and storage lacks or has with another size.

    The listings of a snapshot are used. Manifests that are no longer in storage are ignored. Objects in
    folders that could not be listed are ignored, too. ``now`` is the time at which the damage is found.
    Raises ``StorageError``.
    """
    store, listed = context.store, snapshot_store(context)
    wrong: dict[PackGroup, frozenset[int]] = {}
    doubtful = {item for manifest in manifests for item in _doubtful(manifest, listed, wrong)}
    absent: dict[tuple[str, int], ObjectDamage] = {}
    unlisted = tuple(unlisted_folders(context))
    for key, expected in sorted(doubtful):
        size = listed.listed_size(key)
        if size is None and key.startswith(unlisted):
            continue
        if len(absent) < CONFIRMED:
            size = _size(store, key, expected)
        if size != expected:
            kind = MISSING if size is None else ALTERED
            absent[key, expected] = ObjectDamage(key=key, kind=kind, found=now)
    if not absent:
        return
    still: set[tuple[str, int]] = set()
    for manifest in manifests:
        lacking = {(item.key, item.stored_bytes) for item in manifest.objects()} & absent.keys()
        if lacking - still and store.exists(keys.manifest_key(manifest.id)):
            still |= lacking
    yield from (absent[item] for item in sorted(still))


def _doubtful(
    manifest: Manifest, listed: SnapshotStore, wrong: dict[PackGroup, frozenset[int]]
) -> Iterator[tuple[str, int]]:
    """Yield the key and the expected size of each object of a backup that is not ``listed`` with this size.

    ``wrong`` keeps the positions of such packs in each group, because many backups need the same packs.
    """
    items: list[StoredObject] = [*manifest.own_objects()]
    for packs in (part.needed_packs for part in manifest.parts):
        if not isinstance(packs, ListedPacks):
            items += packs
            continue
        for group, rows in packs.selected:
            if group not in wrong:
                sizes = enumerate(zip(group.sizes(), listed.listed_sizes(group.keys()), strict=True))
                wrong[group] = frozenset(row for row, (expected, size) in sizes if size != expected)
            if wrong[group]:
                items += group.packs(row for row in rows if row in wrong[group])
    for item in items:
        if listed.listed_size(item.key) != item.stored_bytes:
            yield item.key, item.stored_bytes


def damaged_lists(manifests: Iterable[Manifest], now: datetime) -> Iterator[ObjectDamage]:
    """Yield damage, found at ``now``, for each list of packs that is damaged.

    Without this list, nobody knows which packs the database or tree needs.
    """
    found = {part.damaged_list for manifest in manifests for part in manifest.parts if part.damaged_list}
    yield from (ObjectDamage(key=key, kind=ALTERED, found=now) for key in sorted(found))


def altered_manifests(
    entries: Iterable[Entry], runs: Iterable[RunRecord], now: datetime
) -> Iterator[ObjectDamage]:
    """Yield damage, found at ``now``, for each manifest that differs from the one that its run wrote.

    The run record contains the digest of the manifest that the run wrote. The record is not signed, so a
    manifest with a trusted signature is never reported.
    """
    written = {run.id: run.manifest_sha256 for run in runs if run.manifest_sha256}
    for entry in entries:
        if entry.verdict and entry.verdict.trusted:
            continue
        if written.get(entry.id, entry.manifest_sha256) != entry.manifest_sha256:
            yield ObjectDamage(key=keys.manifest_key(entry.id), kind=ALTERED, found=now)


def lost_backups(
    context: BackupContext, entries: Iterable[Entry], runs: Iterable[RunRecord]
) -> tuple[RunRecord, ...]:
    """Return the runs whose backup is gone from storage, although no record says that it was removed.

    Runs that wrote no manifest have no backup, so they are ignored. If ``TRUSTED`` is set, only a record of
    the removal with a trusted signature counts.
    """
    existing, removals = {entry.id for entry in entries}, Removals(context.store, context.config.trust)
    absent = [run for run in runs if run.stored_manifest and run.id not in existing]
    context.store.prefetch(
        (keys.removal_key(run.id) for run in absent), signatures=context.config.trust.required
    )
    gone = [run for run in absent if not removals.explain(run.id, run)]
    return tuple(run for number, run in enumerate(gone) if number >= CONFIRMED or is_lost(context, run.id))


def is_lost(context: BackupContext, backup_id: str, host: str = "") -> bool:
    """Return whether a backup is gone from storage, although no record says that it was removed.

    The storage is asked anew, because a listing can be out of date. ``host`` is the host that made the
    backup; empty if the caller does not know it.
    """
    context = without_snapshot(context)
    if context.store.exists(keys.manifest_key(backup_id)):
        return False
    run = context.catalog.run(backup_id)
    return not Removals(context.store, context.config.trust).explain(backup_id, run, host)


def lost_text(context: BackupContext, run: RunRecord) -> str:
    """Return a sentence about a lost backup, and what to do about it."""
    hint = f"If this is intended, run: accept_backup {run.id} --lost"
    if context.config.trust.required and run.pruned:
        hint = (
            "Its run record says that it was pruned, but no trusted key signed that. If you pruned it before"
            f" you set TRUSTED or revoked a key, run: sign_backups --removals. {hint}"
        )
    return (
        f"Backup {run.id} of host {run.host} is gone from {context.store.describe()}, and no record says that"
        f" it was removed. Objects that it may need are kept. {hint}"
    )


def _size(store: Store, key: str, expected: int) -> int | None:
    try:
        return size_with_versions(store, key, expected)
    except MissingObjectError:
        return None
