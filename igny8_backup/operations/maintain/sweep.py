"""Removes litter in two phases: marked with a time in one run, removed by a later one after a grace.

In between the manifests are read again: what a run was writing, or taking into use, when it was marked has a
manifest by then, and the mark goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from igny8_backup.annotation_store import read_marks, write_marks
from igny8_backup.formats import keys
from igny8_backup.formats.annotations import Mark
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.maintain.orphans import OrphanObject, find_orphans
from igny8_backup.store import UnfinishedUpload

GRACE = timedelta(hours=20)
"""How long litter stays after it was marked: less than a day, so that a nightly run removes what the one of
the night before has marked, even where it begins a little earlier."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """``due`` orphans was marked long enough ago; the rest is ``waiting``. ``unreadable`` are the ids of
    backups for whose sake no pack is litter."""

    due: tuple[OrphanObject, ...] = ()
    waiting: tuple[OrphanObject, ...] = ()
    unreadable: tuple[str, ...] = ()


def plan_sweep(context: BackupContext) -> Sweep:
    """What a sweep would do now. Reads every manifest; changes nothing."""
    now = context.clock()
    marked = {(item.key, item.upload_id): item.since for item in read_marks(context.store)}
    alive = {run.host for run in context.catalog.runs() if run.is_alive(now)}
    report = find_orphans(context)
    due: list[OrphanObject] = []
    waiting: list[OrphanObject] = []
    for item in report.orphans:
        if _may_go(context, item, alive):
            since = marked.get((item.key, item.upload_id), now)
            (due if since <= now - GRACE else waiting).append(item)
    return Sweep(
        due=tuple(due), waiting=tuple(waiting), unreadable=tuple(entry.id for entry in report.unreadable)
    )


def _may_go(context: BackupContext, item: OrphanObject, alive: set[str]) -> bool:
    """Whether a piece of litter is ours, and of no use to the backup or the run that it may belong to."""
    writer = keys.writer(item.key)
    if writer is None:
        return False  # somebody else's, whatever it does here
    if item.key.startswith(keys.PACKS):
        # A run that is under way may take any pack of its host into use.
        return item.key.split("/")[1] not in alive
    if item.key.startswith(keys.BACKUPS) and not item.upload_id:
        # Beside a manifest it may be of a kind that a later release knows; it goes with the backup.
        return not context.store.exists(keys.manifest_key(writer))
    return True


def sweep(context: BackupContext, plan: Sweep, check: Callable[[], None]) -> Iterable[OrphanObject]:
    """Marks what waits and removes what is due, giving each thing once it is gone.

    ``check`` is asked before each removal, and raises when the lock was lost.
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
    before = read_marks(context.store)
    since = {(item.key, item.upload_id): item.since for item in before}
    marks = tuple(
        Mark(key=item.key, upload_id=item.upload_id, since=since.get((item.key, item.upload_id), now))
        for item in waiting
    )
    if marks != before:
        write_marks(context.store, marks)
