"""Find orphans: objects in storage that no manifest names.

A backup exists only once its manifest exists, so an interrupted run leaves orphans. ``sweep`` removes them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from igny8_backup.catalog.backups import Entry
from igny8_backup.common.garbage import fewer_collections
from igny8_backup.formats import keys
from igny8_backup.formats.documents.run_record import RunRecord
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.presence import is_lost, lost_backups
from igny8_backup.operations.history.storage_memory import find_lost
from igny8_backup.operations.maintain.hidden import hidden_backups
from igny8_backup.operations.read.snapshot import snapshot_store, take_snapshot, without_snapshot
from igny8_backup.signing.trust import MANIFEST

_RECORDS = frozenset(
    ["run", "marks", "damage", "marker", "check", "lock", "removal", "retirement", "fleet", "fleet_part"]
    + ["fleet_restore", "fleet_restore_part", "fleet_restored", "collected"]
)
"""The kinds of records that are no orphans, though no manifest names them."""
_NEW_RUNS_LIMIT = 10
"""Objects can belong to runs whose records were not listed. The records of at most this number of such runs,
the newest ones, are looked up."""
_OWN_KINDS = ("details", "database", "runs", "index", "folders", "blocks")


@dataclass(frozen=True, kw_only=True)
class OrphanObject:
    """An object, or an unfinished upload, that no readable manifest names.

    ``size`` is in bytes; ``None`` for an unfinished upload, which has an ``upload_id``. ``modified`` is the
    time of writing; ``None`` if the storage does not know it.
    """

    key: str
    size: int | None
    modified: datetime | None
    upload_id: str = ""


@dataclass(frozen=True)
class OrphanReport:
    """All objects that no readable manifest names, sorted by key.

    ``in_use`` are objects of runs that are still active. ``doubtful`` are objects that an unreadable or lost
    manifest could name. ``orphans`` are all others.

    ``unreadable`` are backups whose manifest cannot be read, or was replaced. ``lost`` are the ids of backups
    whose manifest is gone although no record says that they were removed. ``alive_hosts`` are the hosts with
    an active run. ``unread_runs``: a run record could not be read from storage, so any host could have an
    active run. ``superseded`` are the keys of objects that a rotation of recipients has left over in the
    folder of an existing backup.
    """

    orphans: tuple[OrphanObject, ...] = ()
    in_use: tuple[OrphanObject, ...] = ()
    doubtful: tuple[OrphanObject, ...] = ()
    unreadable: tuple[Entry, ...] = ()
    lost: tuple[str, ...] = ()
    alive_hosts: frozenset[str] = frozenset()
    unread_runs: bool = False
    superseded: frozenset[str] = frozenset()


@fewer_collections()
def find_orphans(context: BackupContext) -> OrphanReport:
    """Find the objects that no manifest names. Run records, pins, checks and deletion marks are left out.

    Raises ``StorageError`` if the storage, or a part of it, cannot be listed.
    """
    # The order of a snapshot: packs are listed before run records, which are read before backups are listed.
    # If a run ends meanwhile, its manifest is found, and if a run starts meanwhile, its packs are not listed.
    context, unread = take_snapshot(context), dict[str, str]()
    runs = context.catalog.runs(unread=unread)
    uploads = [
        OrphanObject(key=item.key, size=None, modified=item.initiated, upload_id=item.upload_id)
        for item in context.store.abandoned_uploads()
    ]
    listed = snapshot_store(context).listed_keys()
    active = [run for run in runs if run.is_alive(context.clock())]
    active += _new_runs(context, runs, listed, uploads)
    alive = {run.id for run in active}
    entries = context.catalog.entries()
    lost = _lost_backups(context, entries, runs, listed, unread)
    doubtful_hosts = {host for host in lost.values() if host}
    any_host = "" in lost.values()
    replaced = _replaced_manifests(context, entries, runs, listed)
    unreadable = tuple(
        replace(entry, problem=entry.problem or "somebody has replaced its manifest")
        for entry in entries
        if entry.manifest is None or entry.id in replaced
    )
    existing = {entry.id for entry in entries}
    broken = {entry.id for entry in unreadable}
    found = {*listed}.difference(map(keys.manifest_key, existing))
    for manifest in (entry.manifest for entry in entries if entry.manifest):
        found -= manifest.named_keys()
    found = {key for key in found if not _is_record(key, existing)}
    orphans, in_use, doubtful = list[OrphanObject](), list[OrphanObject](), list[OrphanObject]()
    unnamed = [
        OrphanObject(key=item.key, size=item.size, modified=item.modified)
        for item in (context.store.list() if found else ())
        if item.key in found
    ]
    for item in sorted(unnamed + uploads, key=lambda item: (item.key, item.upload_id)):
        writer = keys.writer(item.key)
        if writer in alive:
            in_use.append(item)
        elif not item.upload_id and (writer in broken or writer in lost):
            doubtful.append(item)
        elif not item.upload_id and (parsed := keys.parse(item.key)) and parsed.kind in keys.SHARED:
            # Backups share packs, so any manifest that nobody can read may name this one.
            in_doubt = bool(broken) or any_host or parsed.host in doubtful_hosts
            (doubtful if in_doubt else orphans).append(item)
        else:
            orphans.append(item)
    return OrphanReport(
        orphans=tuple(orphans),
        in_use=tuple(in_use),
        doubtful=tuple(doubtful),
        unreadable=unreadable,
        lost=tuple(sorted(lost)),
        alive_hosts=frozenset(run.host for run in active),
        unread_runs=bool(unread),
        superseded=_superseded(entries, (item.key for item in orphans)),
    )


def _new_runs(
    context: BackupContext, runs: Sequence[RunRecord], listed: Iterable[str], uploads: Iterable[OrphanObject]
) -> list[RunRecord]:
    """Return the active runs that have begun since the records ``runs`` were listed.

    Objects of these runs can be among ``listed`` and ``uploads``. Packs (tar archives of files) of these runs
    cannot, because packs were listed before the run records.
    """
    known = {run.id for run in runs} | {entry.id for entry in context.catalog.entries()}
    late = [key for key in listed if key.startswith(keys.BACKUPS) and key.split("/")[1] not in known]
    late += [item.key for item in uploads]
    writers = set(filter(None, map(keys.writer, late))) - known
    read = map(without_snapshot(context).catalog.run, sorted(writers, reverse=True)[:_NEW_RUNS_LIMIT])
    return [run for run in read if run and run.is_alive(context.clock())]


def _replaced_manifests(
    context: BackupContext, entries: Sequence[Entry], runs: Sequence[RunRecord], listed: Iterable[str]
) -> set[str]:
    """Return the ids of the backups whose manifest was replaced after it was stored.

    Nobody knows which objects the original manifest named. The key of a signature contains the digest of the
    signed manifest. So a signature with another digest shows that the manifest was replaced, whoever signed
    the present one. A run record contains the digest of the manifest too. The record is not signed, so it is
    used only for manifests without a trusted signature. ``listed`` are the keys in the storage.

    After a rotation of recipients, a manifest says that it replaces another one. This is not believed here,
    because any host could write that about any backup. A rotation ends by deleting the earlier signature.
    """
    digests = {entry.id: entry.manifest_sha256 for entry in entries if entry.manifest}
    unsigned = {entry.id for entry in entries if entry.untrusted or not context.config.trust.required}
    found = {
        run.id
        for run in runs
        if run.id in unsigned and run.manifest_sha256 and digests.get(run.id) != run.manifest_sha256
    }
    signatures = (key for key in listed if key.startswith(keys.BACKUPS) and key.endswith(".sig"))
    for parsed, key in ((keys.parse(key), key) for key in signatures):
        signed = parsed and (parsed.kind, parsed.name) == ("signature", MANIFEST)
        if parsed and signed and digests.get(parsed.backup_id, "")[:32] not in key:
            found.add(parsed.backup_id)
    return found


def _superseded(entries: Iterable[Entry], listed: Iterable[str]) -> frozenset[str]:
    """Return the keys of objects that a rotation of recipients has left over in the folders of backups.

    These are objects that the rotation has replaced, and objects of a rotation that was interrupted.
    ``listed`` are the keys of the orphans. Backups with an untrusted manifest are left out.
    """
    trusted = {entry.id: entry.manifest for entry in entries if entry.manifest and not entry.untrusted}
    return frozenset(
        key
        for key in listed
        if (parsed := keys.parse(key))
        and parsed.kind in _OWN_KINDS
        and (manifest := trusted.get(parsed.backup_id))
        and (parsed.rotation or manifest.replaces)
    )


def _lost_backups(
    context: BackupContext,
    entries: Sequence[Entry],
    runs: Sequence[RunRecord],
    listed: Iterable[str],
    unread: Collection[str],
) -> dict[str, str]:
    """Return the ids of the lost backups, each with its host (empty if the host is not known).

    A backup is lost if its manifest is gone and no record says that it was removed. A run record, the memory
    of this host, or an older version of the manifest shows that the backup existed. A backup is also returned
    if its manifest is gone and its run record cannot be read. ``listed`` are the keys in the storage,
    ``unread`` the keys of run records that could not be read because the storage failed.
    """
    found = {run.id: run.host for run in lost_backups(context, entries, runs)}
    found |= {item.id: context.config.host for item in find_lost(context)}
    found |= hidden_backups(context, {entry.id for entry in entries})
    readable = {run.id for run in runs} | {entry.id for entry in entries}
    for parsed in map(keys.parse, (key for key in listed if key.startswith(keys.RUNS))):
        if parsed is None or parsed.kind != "run" or parsed.backup_id in readable:
            continue
        key = keys.run_key(parsed.backup_id)
        if key in unread or (context.store.exists(key) and is_lost(context, parsed.backup_id)):
            found.setdefault(parsed.backup_id, "")
    return found


def _is_record(key: str, existing: set[str]) -> bool:
    parsed = keys.parse(key)
    if parsed is None:
        return False
    if parsed.kind in keys.ANNOTATIONS:
        return parsed.backup_id in existing
    if parsed.kind == "signature":
        return not key.startswith(keys.BACKUPS) or parsed.backup_id in existing
    return parsed.kind in _RECORDS
