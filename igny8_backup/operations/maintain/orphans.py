"""What lies in storage under no manifest (law 1), and whose it may be. Nothing is removed here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from igny8_backup.catalog import Entry
from igny8_backup.formats import keys
from igny8_backup.operations.context import BackupContext


@dataclass(frozen=True, kw_only=True)
class OrphanObject:
    """An object that no readable manifest names: its key, its size in bytes, when it was written, if known.

    An upload that was begun and not finished has an ``upload_id`` and no known size.
    """

    key: str
    size: int | None
    modified: datetime | None
    upload_id: str = ""


@dataclass(frozen=True, kw_only=True)
class OrphanReport:
    """All that no readable manifest names, each thing in one of three lists, sorted by key.

    ``orphans`` is of no use to anybody. What is ``in_use`` belongs to a run that is under way. What is
    ``doubtful`` may be named by one of the manifests that cannot be read: those are ``unreadable``.
    """

    orphans: tuple[OrphanObject, ...] = ()
    in_use: tuple[OrphanObject, ...] = ()
    doubtful: tuple[OrphanObject, ...] = ()
    unreadable: tuple[Entry, ...] = ()


def find_orphans(context: BackupContext) -> OrphanReport:
    """Compares what is stored with what the manifests name, and with what is kept beside them: records of
    runs, pins, checks, marks.

    Raises ``StorageError`` when the storage, or a part of it, cannot be listed.
    """
    # In this order: what a run completes while we read is then named by the time that manifests are read,
    # and what a run begins is not yet among the objects.
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
            doubtful.append(item)  # packs are shared: any manifest may name any of them
        else:
            orphans.append(item)
    return OrphanReport(
        orphans=tuple(orphans), in_use=tuple(in_use), doubtful=tuple(doubtful), unreadable=unreadable
    )


def _is_record(key: str, existing: set[str]) -> bool:
    parsed = keys.parse(key)
    if parsed is None:
        return False
    beside = parsed.kind in ("pin", "check") and parsed.backup_id in existing
    return beside or parsed.kind in ("run", "marks")
