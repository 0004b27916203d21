"""Make the status document from the inventory of the storage. Entry point: :func:`build_status`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from igny8_backup.catalog.annotations import read_marks
from igny8_backup.catalog.backups import Entry
from igny8_backup.conf import Config
from igny8_backup.errors import BackupError
from igny8_backup.formats import keys
from igny8_backup.formats.documents.annotations import Annotations, Check
from igny8_backup.formats.documents.run_record import RunRecord
from igny8_backup.formats.documents.status import (
    SCHEMA,
    Status,
    StatusBackup,
    StatusBlock,
    StatusCheck,
    StatusCondition,
    StatusCopy,
    StatusOrphan,
    StatusPart,
    StatusRestore,
    StatusRun,
)
from igny8_backup.formats.manifest import RUNNING, Manifest
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.journal import DONE, UNDONE, Journal
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.maintain.inventory import Inventory
from igny8_backup.operations.monitor.health import Health
from igny8_backup.operations.monitor.run import part_states
from igny8_backup.retention.policy import Part, Verdict

RECENT = timedelta(days=60)
"""Runs that are older than this are left out."""
DIED = "died"
"""The outcome of a run that was killed before it recorded an outcome."""
_MOST_ORPHANS = 1000


def build_status(context: BackupContext, inventory: Inventory, health: Health) -> Status:
    """Return the status document for the ``inventory`` of the storage and the conditions in ``health``.

    Sends one more request to the storage, for the marks on orphans (objects of no backup). These marks and
    the journals of restores are left out if they cannot be read.
    """
    config, plan = context.config, inventory.plan(context.config)
    verdicts = {verdict.id: verdict for verdict in plan.verdicts}
    return Status(
        schema=SCHEMA,
        host=config.host,
        environment=config.environment,
        storage=context.store.describe(),
        read=health.now,
        conditions=tuple(
            StatusCondition(name=item.name, of=item.of, ok=item.ok, text=item.text)
            for item in health.conditions
        ),
        parts=tuple(_parts(inventory, health, config)),
        backups=tuple(_backup(entry, inventory, verdicts.get(entry.id)) for entry in inventory.entries),
        runs=tuple(_run(run, health.now) for run in inventory.runs if health.now - run.started < RECENT),
        blocked=tuple(StatusBlock(part=str(item.part), reason=item.reason) for item in plan.blocked),
        orphans=_orphans(context),
        restores=_restores(context),
    )


def _parts(inventory: Inventory, health: Health, config: Config) -> Iterable[StatusPart]:
    newest = {copy.part: copy for copy in health.newest}
    for part in (state.part for state in part_states(inventory, config)):
        limit, copy = config.max_age_of(part), newest.get(part)
        yield StatusPart(
            host=part.host,
            kind=part.kind,
            name=part.name,
            max_age=None if limit is None else int(limit.total_seconds()),
            backup_id=copy.backup_id if copy else "",
            as_of=copy.as_of if copy else None,
            bytes=copy.bytes if copy else None,
            verified=copy.verified if copy else None,
            drilled=copy.drilled if copy else None,
        )


def _backup(entry: Entry, inventory: Inventory, verdict: Verdict | None) -> StatusBackup:
    manifest, annotations = entry.manifest, inventory.annotations.get(entry.id, Annotations())
    kept, reasons = (verdict.keep, verdict.reasons) if verdict else (True, ())
    if manifest is None:
        return StatusBackup(
            id=entry.id, started=entry.started, problem=entry.problem, kept=kept, reasons=reasons
        )
    return StatusBackup(
        id=entry.id,
        started=manifest.started,
        finished=manifest.finished,
        host=manifest.host,
        environment=manifest.environment,
        label=manifest.label,
        encrypted=manifest.encrypted,
        untrusted=entry.untrusted,
        safety=manifest.safety,
        pin=annotations.pin.reason if annotations.pin else "",
        kept=kept,
        reasons=reasons,
        objects=sum(1 for _ in manifest.sizes()),
        stored_bytes=manifest.stored_bytes,
        copies=tuple(_copy(manifest, part, inventory, verdict) for part in manifest.parts),
        checks=tuple(map(_check, annotations.checks)),
    )


def _copy(
    manifest: Manifest, item: DatabasePart | TreePart, inventory: Inventory, verdict: Verdict | None
) -> StatusCopy:
    part = Part(host=manifest.host, kind=item.kind, name=item.name)
    standing = inventory.standings.of(manifest.id, part)
    kept = next((copy.reasons for copy in verdict.copies if copy.part == part), ()) if verdict else ()
    tree = item if isinstance(item, TreePart) else None
    first = next(iter(item.own_objects() or item.needed_packs), None)
    return StatusCopy(
        kind=item.kind,
        name=item.name,
        state=item.state,
        started=item.started,
        as_of=item.as_of if isinstance(item, DatabasePart) else item.started,
        seconds=_seconds(item.started, item.finished),
        bytes=item.bytes,
        stored_bytes=sum(size for _, size in item.sizes()),
        added_bytes=sum(size for key, size in item.sizes() if keys.writer(key) == manifest.id),
        codecs=first.codecs if first else (),
        files=tree.files if tree else None,
        skipped=tree.skipped if tree else None,
        excluded=tree.excluded if tree else None,
        error=item.error,
        unfit=standing.why if standing else "",
        reasons=kept,
    )


def _check(check: Check) -> StatusCheck:
    return StatusCheck(
        depth=check.depth,
        started=check.started,
        seconds=_seconds(check.started, check.finished),
        objects=check.objects,
        read=check.read,
        damaged=len(check.all_damage()),
    )


def _run(run: RunRecord, now: datetime) -> StatusRun:
    died = run.outcome == RUNNING and not run.is_alive(now)
    return StatusRun(
        id=run.id,
        host=run.host,
        label=run.label,
        requested=run.requested,
        started=run.started,
        finished=run.finished,
        outcome=DIED if died else run.outcome,
        errors=run.errors,
    )


def _orphans(context: BackupContext) -> tuple[StatusOrphan, ...]:
    try:
        marks = read_marks(context.store)
    except BackupError:
        return ()
    return tuple(StatusOrphan(key=mark.key, since=mark.since) for mark in marks[:_MOST_ORPHANS])


def _restores(context: BackupContext) -> tuple[StatusRestore, ...]:
    try:
        journals = context.journals.all()
    except BackupError:
        return ()
    return tuple(_restore(journal) for journal in journals)


def _restore(journal: Journal) -> StatusRestore:
    kept = journal.phase in (DONE, UNDONE)
    undone = journal.phase == UNDONE
    return StatusRestore(
        stamp=journal.stamp,
        phase=journal.phase,
        since=journal.swapped or journal.started,
        backup_ids=journal.backup_ids,
        databases=tuple(
            swap.staging if undone else swap.previous
            for swap in journal.databases
            if kept and (undone or swap.existed)
        ),
        folders=tuple(swap.previous for swap in journal.trees if kept),
    )


def _seconds(started: datetime, finished: datetime) -> int:
    return max(0, round((finished - started).total_seconds()))
