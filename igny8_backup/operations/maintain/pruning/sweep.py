"""Remove orphans (objects that no manifest names) in two steps.

One run of prune_backups marks an orphan, and a later run removes it. The later run reads all manifests again.
If a backup run was writing or reusing an object when it was marked, the manifest of that run exists by then.
The object is no orphan any more, and its mark is removed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from igny8_backup.catalog.annotations import read_marks, write_marks
from igny8_backup.common.clock_skew import is_ahead
from igny8_backup.formats import keys
from igny8_backup.formats.documents.annotations import Mark
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.maintain.orphans import OrphanObject, OrphanReport, find_orphans
from igny8_backup.operations.maintain.pruning.locked import LockedObject, locked_objects
from igny8_backup.operations.read.snapshot import take_snapshot
from igny8_backup.store import UnfinishedUpload
from igny8_backup.store.objects import is_key

GRACE = timedelta(hours=20)
"""The least time between marking an orphan and removing it. It is less than a day, so that a nightly run can
remove the orphans marked the night before, even if the run starts a little earlier than that night."""


@dataclass(frozen=True)
class Sweep:
    """The orphans to remove now (``due``), and those to mark for a later run (``waiting``).

    ``unreadable`` are the ids of backups without a readable manifest. While there are any, no pack (tar
    archive of files) is removed, because such a backup could need it. ``locked`` are the ``waiting`` orphans
    that would be removed now if S3 Object Lock did not prevent it.
    """

    due: tuple[OrphanObject, ...] = ()
    waiting: tuple[OrphanObject, ...] = ()
    unreadable: tuple[str, ...] = ()
    locked: tuple[LockedObject, ...] = ()


def plan_sweep(context: BackupContext) -> Sweep:
    """Find the orphans (objects that no manifest names) to remove now and those to mark. Changes nothing."""
    now = context.clock()
    marked = {(item.key, item.upload_id): item.since for item in read_marks(context.store)}
    report = find_orphans(context)
    due, waiting = list[OrphanObject](), list[OrphanObject]()
    for item in report.orphans:
        # A run whose record cannot be read may be under way, on any host.
        unsure = report.unread_runs and item.key.startswith(keys.PACKS)
        if not unsure and _is_removable(context, item, report):
            since = _believed(marked.get((item.key, item.upload_id), now), now)
            (due if since <= now - GRACE else waiting).append(item)
    locked = locked_objects(context, (item.key for item in due if not item.upload_id))
    names = {item.key for item in locked}
    waiting += [item for item in due if item.key in names]
    due = [item for item in due if item.key not in names]
    return Sweep(tuple(due), tuple(waiting), tuple(entry.id for entry in report.unreadable), locked)


def _is_removable(context: BackupContext, item: OrphanObject, report: OrphanReport) -> bool:
    """Return whether this package has written the orphan ``item``, and no backup or run can need it."""
    writer = keys.writer(item.key)
    if writer is None or not is_key(item.key):
        return False  # not written by this package
    if item.key.startswith(keys.PACKS):
        # A run that is under way may reuse any pack of its host.
        return item.key.split("/")[1] not in report.alive_hosts
    if item.key.startswith(keys.BACKUPS) and not item.upload_id and item.key not in report.superseded:
        # If the backup exists, a later release may have written this object; it is removed with the backup.
        return not context.store.exists(keys.manifest_key(writer))
    return True


def sweep(context: BackupContext, plan: Sweep, check: Callable[[], None]) -> Iterable[OrphanObject]:
    """Mark the waiting orphans and remove the due ones; yield each orphan after its removal.

    Before anything is removed, the manifests are read once more. An orphan stays if its lock (S3 Object Lock)
    was extended meanwhile. ``check`` is called before each removal and raises if a lock of this run was lost.
    """
    _mark(context, plan.waiting, context.clock())
    if not plan.due:
        return
    check()
    # A manifest may have been written since the plan was made, by a run that was not seen.
    entries = take_snapshot(context).catalog.entries()
    unreadable = any(entry.manifest is None for entry in entries)
    named = {key for entry in entries if entry.manifest for key in entry.manifest.named_keys()}
    named |= {keys.manifest_key(entry.id) for entry in entries}
    due = [
        item
        for item in plan.due
        if not (item.key in named or (unreadable and item.key.startswith(keys.PACKS)))
    ]
    for item in due:
        if item.upload_id and item.modified:
            check()
            context.store.abort_upload(UnfinishedUpload(item.key, item.upload_id, item.modified))
            yield item
    objects = {item.key: item for item in due if not item.upload_id}
    for key in context.store.delete_several(list(objects), check):
        yield objects[key]


def _mark(context: BackupContext, waiting: Iterable[OrphanObject], now: datetime) -> None:
    previous = read_marks(context.store)
    since = {(item.key, item.upload_id): item.since for item in previous}
    marks = tuple(
        Mark(
            key=item.key,
            upload_id=item.upload_id,
            since=_believed(since.get((item.key, item.upload_id), now), now),
        )
        for item in waiting
    )
    if marks != previous:
        write_marks(context.store, marks)


def _believed(since: datetime, now: datetime) -> datetime:
    """Return ``since``, the time of a mark; if that time is in the future, return ``now``.

    Without this, an orphan with such a mark would have to wait until that time for its removal.
    """
    return now if is_ahead(since, now) else since
