"""Remove orphans (objects that no manifest names): one run of prune_backups marks, a later run removes them.

The later run reads all manifests again. If a backup run was writing or reusing an object when the object was
marked, its manifest exists by then, and the object loses its mark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from igny8_backup.catalog.annotations import read_marks, write_marks
from igny8_backup.formats import keys
from igny8_backup.formats.annotations import Mark
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.maintain.orphans import OrphanObject, find_orphans
from igny8_backup.store import UnfinishedUpload

GRACE = timedelta(hours=20)
"""The time from the mark of an orphan to its removal. Less than a day, so that a nightly run removes what the
last one marked, even if it starts a little earlier."""


@dataclass(frozen=True)
class Sweep:
    """The orphans to remove now (``due``), and those to mark for a later run (``waiting``).

    ``unreadable`` are the ids of backups without a readable manifest. While there are any, no pack (tar
    archive of files) is removed, because they may name it.
    """

    due: tuple[OrphanObject, ...] = ()
    waiting: tuple[OrphanObject, ...] = ()
    unreadable: tuple[str, ...] = ()


def plan_sweep(context: BackupContext) -> Sweep:
    """Find the orphans (objects no manifest names) to remove and to mark now. Nothing is changed."""
    now = context.clock()
    marked = {(item.key, item.upload_id): item.since for item in read_marks(context.store)}
    alive = {run.host for run in context.catalog.runs() if run.is_alive(now)}
    report = find_orphans(context)
    due, waiting = list[OrphanObject](), list[OrphanObject]()
    for item in report.orphans:
        if _is_removable(context, item, alive):
            since = marked.get((item.key, item.upload_id), now)
            (due if since <= now - GRACE else waiting).append(item)
    return Sweep(tuple(due), tuple(waiting), tuple(entry.id for entry in report.unreadable))


def _is_removable(context: BackupContext, item: OrphanObject, alive: set[str]) -> bool:
    """Return whether this package has written the orphan ``item``, and no backup or run can need it."""
    writer = keys.writer(item.key)
    if writer is None:
        return False  # not written by this package
    if item.key.startswith(keys.PACKS):
        # A run that is under way may reuse any pack of its host.
        return item.key.split("/")[1] not in alive
    if item.key.startswith(keys.BACKUPS) and not item.upload_id:
        # If the backup exists, a later release may have written this object; it is removed with the backup.
        return not context.store.exists(keys.manifest_key(writer))
    return True


def sweep(context: BackupContext, plan: Sweep, check: Callable[[], None]) -> Iterable[OrphanObject]:
    """Mark the waiting orphans and remove the due ones; yield each orphan after its removal.

    ``check`` is called before each removal and raises if the lock was lost.
    """
    _mark(context, plan.waiting, context.clock())
    for item in plan.due:
        check()
        if item.upload_id and item.modified:
            context.store.abort_upload(UnfinishedUpload(item.key, item.upload_id, item.modified))
        else:
            context.store.delete(item.key)
        yield item


def _mark(context: BackupContext, waiting: Iterable[OrphanObject], now: datetime) -> None:
    previous = read_marks(context.store)
    since = {(item.key, item.upload_id): item.since for item in previous}
    marks = tuple(
        Mark(key=item.key, upload_id=item.upload_id, since=since.get((item.key, item.upload_id), now))
        for item in waiting
    )
    if marks != previous:
        write_marks(context.store, marks)
