"""A database restored into itself, in one transaction, after a backup of what is there.

For roles that may not create databases, as on many managed servers, and never chosen without being asked for:
the application waits meanwhile, and the backup made first is the only way back.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from igny8_backup.catalog import select
from igny8_backup.celery.workers import Workers, ask_workers
from igny8_backup.databases.engine import Capability, Engine
from igny8_backup.databases.values import RestoreSelection, Target
from igny8_backup.errors import BackupError, IntegrityError, UnfinishedError, UsageError, adding_context
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.manifest import DatabasePart
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.read_details import read_details
from igny8_backup.operations.restore import hooks
from igny8_backup.operations.restore.preflight import check_objects, differing_migrations
from igny8_backup.operations.restore.workers import (
    WorkersPolicy,
    ensure_workers_stopped,
    purge,
    workers_blockers,
    workers_notes,
)
from igny8_backup.operations.selection import ALL, DB, require_none, select_parts
from igny8_backup.operations.staging import sandbox, sanitize
from igny8_backup.operations.staging.overrides import RestoreOverrides, apply_overrides
from igny8_backup.signals import RESTORE, announced
from igny8_backup.streams.age import Identity

LABEL = "before a restore in place"


@dataclass(frozen=True, kw_only=True)
class InPlaceRequest:
    """``only`` is an alias, or ``all`` or ``db`` where there is one database only."""

    backup_id: str = ""
    only: str = ALL
    identity_file: Path | None = None
    owners: bool = True
    keep_personal_data: bool = False
    workers: WorkersPolicy = WorkersPolicy()


@dataclass(frozen=True, kw_only=True)
class InPlacePlan:
    """What will replace what, notes to read before, and obstacles: with one of those nothing will be done."""

    created: datetime
    backup_id: str
    part: DatabasePart
    details: DatabaseDetails
    target: Target
    wanted: RestoreSelection
    notes: tuple[str, ...]
    blockers: tuple[str, ...]
    identities: tuple[Identity, ...]
    policy: WorkersPolicy
    workers: Workers

    @property
    def backup_ids(self) -> tuple[str, ...]:
        return (self.backup_id,)

    def require_feasible(self) -> None:
        """Raises ``RefusedError`` listing what is in the way."""
        require_none(self.blockers)


@dataclass(frozen=True, kw_only=True)
class InPlaceResult:
    """``saved`` is the id of the backup of what was there; ``left_out`` what of the dump was not restored,
    ``warnings`` what is not as it should be, though restored. ``stopped`` and ``purged`` are as for a restore
    that swaps."""

    backup_id: str
    saved: str
    left_out: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()
    purged: int | None = None


@adding_context("Nothing was changed.")
def plan_in_place(context: BackupContext, request: InPlaceRequest) -> InPlacePlan:
    """The plan. Reads manifest, details and the head of the dump; changes nothing.

    Raises ``UsageError`` for anything but one PostgreSQL database that exists, and as ``plan_restore`` does.
    """
    wanted = context.catalog.get(request.backup_id) if request.backup_id else None
    aliases, _ = select_parts(context.config, DB if request.only == ALL else request.only, wanted)
    if len(aliases) != 1:
        what = f"{', '.join(aliases)} are several" if aliases else f"--only {request.only} is none"
        raise UsageError(
            f"--in-place takes one database, and {what}.",
            unchanged="Nothing was changed.",
            hint="Give --only ALIAS.",
        )
    pool = [wanted] if wanted else context.catalog.manifests()
    selection = select(pool, databases=aliases, trees=(), wanted=wanted)
    ((manifest, part),) = selection.databases
    identities = context.identities(request.identity_file, needed=manifest.encrypted)
    details = read_details(context, manifest, identities).database(part.alias)
    engine = _engine(context, part.alias)
    details, said = apply_overrides(engine, details, RestoreOverrides(owners=request.owners))
    target = engine.target()
    if part.object is None or not target.exists:
        raise UsageError(
            f"There is no database {target.name} to restore in.",
            unchanged="Nothing was changed.",
            hint=f"Have it made, empty, with the encoding {details.encoding}; or restore without --in-place.",
        )
    check_objects(context, [part.object])
    workers = ask_workers()
    blockers = engine.in_place_blockers(part, details, context.download(part.object, identities))
    blockers += [f"{part.alias}: {text}" for text in differing_migrations(details)]
    blockers += workers_blockers(workers, request.workers, hooks=bool(context.config.before_restore))
    keep = request.keep_personal_data
    blockers += sanitize.blockers(context.config, [manifest], aliases, sanitize=False, keep=keep)
    if context.journals.unfinished():
        blockers.append("An earlier restore, or its undoing, was interrupted: restore_all settles that.")
    notes = [*selection.notes, *said, *workers_notes(workers, request.workers)]
    if details.excluded_data:
        notes.append(
            f"The backup does not have the rows of {', '.join(details.excluded_data)}: these tables will be"
            " empty."
        )
    if request.only == ALL and context.config.sites:
        notes.append(f"Files stay as they are: restore_all {manifest.id} --only files.")
    return InPlacePlan(
        created=context.clock(),
        backup_id=manifest.id,
        part=part,
        details=details,
        target=target,
        wanted=RestoreSelection(owners=request.owners),
        notes=tuple(dict.fromkeys(notes)),
        blockers=tuple(blockers),
        identities=tuple(identities),
        policy=request.workers,
        workers=workers,
    )


def run_in_place(context: BackupContext, plan: InPlacePlan, own: BackupContext) -> InPlaceResult:
    """Carries the plan out, after a backup of what is there, which ``own`` (one that may write) makes when
    nobody is at work any more.

    Either all of it is done, or nothing: a failure raises with the database as it was. ``UnfinishedError``
    where nobody can tell which.
    """
    plan.require_feasible()
    with hooks.before_restore(context, plan.backup_ids):
        stopped = ensure_workers_stopped(context, plan.policy)
        saved = _save_first(own, plan)
        context.progress.note(f"What is there is in backup {saved}, the only way back.")
        with context.locked("a restore"):
            # What restarts workers may have brought them back.
            stopped = tuple(dict.fromkeys((*stopped, *ensure_workers_stopped(context, plan.policy))))
            with announced(RESTORE, "swap", plan.backup_ids):
                left_out = _replace(context, plan, saved)
    # Not before: a restore that fails must not cost the tasks that wait.
    with hooks.when_restored():
        purged, trouble = purge(plan.policy, plan.workers)
        warnings = (*trouble, *_after(context, plan, saved))
    return InPlaceResult(
        backup_id=plan.backup_id,
        saved=saved,
        left_out=left_out,
        warnings=warnings,
        stopped=stopped,
        purged=purged,
    )


def _save_first(own: BackupContext, plan: InPlacePlan) -> str:
    """Backs up all that is in the database, rows that the settings leave out too; returns the id."""
    whole = replace(own, config=replace(own.config, exclude_table_data={}))
    return run_backup(whole, BackupRequest(databases=(plan.part.alias,), label=LABEL)).id


def _replace(context: BackupContext, plan: InPlacePlan, saved: str) -> tuple[str, ...]:
    stored, alias = plan.part.object, plan.part.alias
    if stored is None:
        raise IntegrityError(f"The backup of {alias!r} names no object.")
    engine = _engine(context, alias)
    try:
        with context.observe(f"database {alias}") as observer:
            observer.begin(stored.raw_bytes)
            blocks = context.download(stored, list(plan.identities))
            return engine.restore_in_place(
                observer.monitor(blocks, source="the storage", sink="psql"),
                plan.details,
                plan.wanted,
                context.config.scratch_dir,
            )
    except UnfinishedError as error:
        raise UnfinishedError(str(error), hint=f"What was there before is in backup {saved}.") from None


def how_to_undo(alias: str, saved: str) -> str:
    """The command that brings back what was there."""
    return f"python manage.py restore_all {saved} --in-place --only {shlex.quote(alias)}"


def _after(context: BackupContext, plan: InPlacePlan, saved: str) -> tuple[str, ...]:
    """Connects as the application will; if all is well, runs the hooks. Returns warnings: all is restored."""
    try:
        if plan.details.migrations:
            with announced(RESTORE, "check", plan.backup_ids):
                sandbox.check([plan.part.alias])
    except BackupError as error:
        unrun = ("AFTER_RESTORE was not run.",) if context.config.after_restore else ()
        return (f"{error} To go back: {how_to_undo(plan.part.alias, saved)}.", *unrun)
    return hooks.after_restore(context, plan.backup_ids)


def _engine(context: BackupContext, alias: str) -> Engine:
    engine = context.engine(alias)
    engine.require(Capability.IN_PLACE, unchanged="Nothing was changed.", hint="Restore without --in-place.")
    return engine
