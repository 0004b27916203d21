"""Find orphans: objects in storage that no manifest names. Nothing is removed here.

A backup exists only once its manifest exists, so an interrupted run leaves orphans.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from igny8_backup.catalog.backups import Entry
from igny8_backup.formats import keys
from igny8_backup.operations.context import BackupContext


@dataclass(frozen=True, kw_only=True)
class OrphanObject:
    """An object that no readable manifest names: its key, its size in bytes, when it was written, if known.

    An unfinished upload has an ``upload_id`` and no known size.
    """

    key: str
    size: int | None
    modified: datetime | None
    upload_id: str = ""


@dataclass(frozen=True, kw_only=True)
class OrphanReport:
    """All objects that no readable manifest names, sorted by key.

    ``orphans`` belong to nothing, ``in_use`` to a run that is under way. ``doubtful`` objects may be named by
    one of the ``unreadable`` manifests.
    """

    orphans: tuple[OrphanObject, ...] = ()
    in_use: tuple[OrphanObject, ...] = ()
    doubtful: tuple[OrphanObject, ...] = ()
    unreadable: tuple[Entry, ...] = ()


def find_orphans(context: BackupContext) -> OrphanReport:
    """Compare the objects in storage with what the manifests name; run records, pins, checks and marks are
    not orphans.

    Raises ``StorageError`` when the storage, or a part of it, cannot be listed.
    """
    # Objects are listed before manifests are read: a run that ends meanwhile then has its manifest, and the
    # objects of a run that starts meanwhile are not in the list.
    uploads = [
        OrphanObject(key=item.key, size=None, modified=item.initiated, upload_id=item.upload_id)
        for item in context.store.abandoned_uploads()
    ]
    objects = [
        OrphanObject(key=item.key, size=item.size, modified=item.modified) for item in context.store.list()
    ]
    alive = {run.id for run in context.catalog.runs() if run.is_alive(context.clock())}
    entries = context.catalog.entries()
    unreadable = tuple(entry for entry in entries if entry.manifest is None)
    named = {keys.manifest_key(entry.id) for entry in entries}
    for entry in entries:
        named |= {item.key for item in entry.manifest.objects()} if entry.manifest else set()
    broken = {entry.id for entry in unreadable}
    existing = {entry.id for entry in entries}
    orphans: list[OrphanObject] = []
    in_use: list[OrphanObject] = []
    doubtful: list[OrphanObject] = []
    for item in sorted(objects + uploads, key=lambda item: (item.key, item.upload_id)):
        if not item.upload_id and (item.key in named or _is_record(item.key, existing)):
            continue
        writer = keys.writer(item.key)
        if writer in alive:
            in_use.append(item)
        elif not item.upload_id and (writer in broken or (broken and item.key.startswith(keys.PACKS))):
            doubtful.append(item)  # packs are shared: any unreadable manifest may name this one
        else:
            orphans.append(item)
    return OrphanReport(
        orphans=tuple(orphans), in_use=tuple(in_use), doubtful=tuple(doubtful), unreadable=unreadable
    )


def _is_record(key: str, existing: set[str]) -> bool:
    parsed = keys.parse(key)
    if parsed is None:
        return False
    annotation = parsed.kind in ("pin", "check") and parsed.backup_id in existing
    return annotation or parsed.kind in ("run", "marks")
