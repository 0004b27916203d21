"""Find orphans: objects in storage that no manifest names.

A backup exists only once its manifest exists, so an interrupted run leaves orphans. ``sweep`` removes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from igny8_backup.catalog.backups import Entry
from igny8_backup.formats import keys
from igny8_backup.operations.context import BackupContext


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

    ``in_use``: written by a run that is still active. ``doubtful``: perhaps named by one of the
    ``unreadable`` manifests. ``orphans``: all others.
    """

    orphans: tuple[OrphanObject, ...] = ()
    in_use: tuple[OrphanObject, ...] = ()
    doubtful: tuple[OrphanObject, ...] = ()
    unreadable: tuple[Entry, ...] = ()


def find_orphans(context: BackupContext) -> OrphanReport:
    """Find the objects that no manifest names, except run records, pins, checks and deletion marks.

    Raises ``StorageError`` if the storage, or a part of it, cannot be listed.
    """
    # Objects are listed before manifests are read: if a run ends meanwhile, its manifest is found, and if a
    # run starts meanwhile, its objects are not in the list.
    uploads = [
        OrphanObject(key=item.key, size=None, modified=item.initiated, upload_id=item.upload_id)
        for item in context.store.abandoned_uploads()
    ]
    stored = context.store.list()
    objects = [OrphanObject(key=item.key, size=item.size, modified=item.modified) for item in stored]
    alive = {run.id for run in context.catalog.runs() if run.is_alive(context.clock())}
    entries = context.catalog.entries()
    unreadable = tuple(entry for entry in entries if entry.manifest is None)
    existing = {entry.id for entry in entries}
    broken = {entry.id for entry in unreadable}
    named = {keys.manifest_key(backup_id) for backup_id in existing}
    named |= {item.key for entry in entries if entry.manifest for item in entry.manifest.objects()}
    orphans, in_use, doubtful = list[OrphanObject](), list[OrphanObject](), list[OrphanObject]()
    for item in sorted(objects + uploads, key=lambda item: (item.key, item.upload_id)):
        if not item.upload_id and (item.key in named or _is_record(item.key, existing)):
            continue
        writer = keys.writer(item.key)
        if writer in alive:
            in_use.append(item)
        elif not item.upload_id and (writer in broken or (broken and item.key.startswith(keys.PACKS))):
            doubtful.append(item)  # backups share packs, so any unreadable manifest may name this pack
        else:
            orphans.append(item)
    return OrphanReport(tuple(orphans), tuple(in_use), tuple(doubtful), unreadable)


def _is_record(key: str, existing: set[str]) -> bool:
    parsed = keys.parse(key)
    if parsed is None:
        return False
    annotation = parsed.kind in ("pin", "check") and parsed.backup_id in existing
    return annotation or parsed.kind in ("run", "marks")
