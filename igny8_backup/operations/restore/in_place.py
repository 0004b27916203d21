"""Replace the contents of a live database in one transaction, after a backup of its previous contents.

For roles that may not create databases, as on many managed servers. It is done only on request, because the
application waits meanwhile, and only that backup can undo the restore. The entry points are
:func:`plan_in_place` and :func:`run_in_place`.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace

from igny8_backup.catalog.select import select
from igny8_backup.celery.workers import Workers, ask_workers
from igny8_backup.databases.capabilities import Capability
from igny8_backup.databases.engine import Engine
from igny8_backup.databases.values import RestoreSelection, Target
from igny8_backup.errors import BackupError, UnfinishedError, UsageError, adding_context
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
from igny8_backup.operations.selection import ALL, DB, BasePlan, BaseRequest, select_parts
from igny8_backup.operations.staging import sandbox, sanitize
from igny8_backup.operations.staging.overrides import RestoreOverrides, apply_overrides
from igny8_backup.signals import RESTORE, announced

LABEL = "before a restore in place"


@dataclass(frozen=True, kw_only=True)
class InPlaceRequest(BaseRequest):
    """A request to restore one database in place.

    ``only`` is an alias, or ``all`` or ``db`` if there is only one database. The other fields are those of
    ``RestoreRequest``; ``owners`` is that of ``RestoreOverrides``.
    """

    owners: bool = True
    workers: WorkersPolicy = WorkersPolicy()


@dataclass(frozen=True, kw_only=True)
class InPlacePlan(BasePlan):
    """The plan of a restore in place: the live database is emptied and the dump is loaded into it."""

    backup_id: str
    part: DatabasePart
    details: DatabaseDetails
    target: Target
    selection: RestoreSelection
    policy: WorkersPolicy
    workers: Workers

    @property
    def backup_ids(self) -> tuple[str, ...]:
        return (self.backup_id,)


@dataclass(frozen=True, kw_only=True)
class InPlaceResult:
    """The result of a restore in place.

    ``saved`` is the id of the backup of the previous contents. ``left_out`` describes the objects of the dump
    that were not restored. ``warnings``, ``stopped`` and ``purged`` are those of ``RestoreResult``.
    """

    backup_id: str
    saved: str
    left_out: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()
    purged: int | None = None


@adding_context("Nothing was changed.")
def plan_in_place(context: BackupContext, request: InPlaceRequest) -> InPlacePlan:
    """Plan a restore in place from manifest, details and the beginning of the dump. Nothing is changed.

    Raises ``UsageError`` unless the request names one PostgreSQL database that exists, and the errors of
    ``plan_restore``.
    """
    given = context.catalog.get(request.backup_id) if request.backup_id else None
    aliases, _ = select_parts(context.config, DB if request.only == ALL else request.only, given)
    if len(aliases) != 1:
        what = f"{', '.join(aliases)} are several" if aliases else f"--only {request.only} is none"
        raise UsageError(
            f"--in-place takes one database, and {what}.",
            hint="Give --only ALIAS.",
        )
    pool = [given] if given else context.catalog.manifests()
    selected = select(pool, databases=aliases, trees=(), wanted=given)
    ((manifest, part),) = selected.databases
    identities = context.identities(request.identity_file, needed=manifest.encrypted)
    details = read_details(context, manifest, identities).database(part.alias)
    engine = _engine(context, part.alias)
    details, override_notes = apply_overrides(engine, details, RestoreOverrides(owners=request.owners))
    target = engine.target()
    if not target.exists:
        raise UsageError(
            f"There is no database {target.name} to restore into.",
            hint=f"Create it, empty, with the encoding {details.encoding}; or restore without --in-place.",
        )
    check_objects(context, [part.dump])
    workers = ask_workers()
    blockers = engine.in_place_blockers(part, details, context.download(part.dump, identities))
    blockers += [f"{part.alias}: {text}" for text in differing_migrations(details)]
    blockers += workers_blockers(workers, request.workers, hooks=bool(context.config.before_restore))
    keep = request.keep_personal_data
    blockers += sanitize.blockers(context.config, [manifest], aliases, sanitize=False, keep=keep)
    if context.journals.unfinished():
        blockers.append(
            "An earlier restore or undo was interrupted. To complete it: restore_all without --in-place."
        )
    notes = [*selected.notes, *override_notes, *workers_notes(workers, request.workers)]
    if details.excluded_data:
        notes.append(
            f"The backup does not contain the rows of {', '.join(details.excluded_data)}. These tables will"
            " be empty."
        )
    if request.only == ALL and context.config.sites:
        notes.append(f"Files are not restored. To restore them: restore_all {manifest.id} --only files.")
    return InPlacePlan(
        created=context.clock(),
        backup_id=manifest.id,
        part=part,
        details=details,
        target=target,
        selection=RestoreSelection(owners=request.owners),
        notes=tuple(dict.fromkeys(notes)),
        blockers=tuple(blockers),
        identities=tuple(identities),
        policy=request.workers,
        workers=workers,
    )


def run_in_place(context: BackupContext, plan: InPlacePlan, own: BackupContext) -> InPlaceResult:
    """Stop the workers, back up the database, then replace its contents in one transaction.

    ``own`` is a context that may write backups. After a failure the database is unchanged. Only after
    ``UnfinishedError`` this is unknown, because the connection was lost during the commit.
    """
    plan.require_feasible()
    with hooks.before_restore(context, plan.backup_ids):
        stopped = ensure_workers_stopped(context, plan.policy)
        saved = _save_first(own, plan)
        context.progress.note(
            f"The previous contents are in backup {saved}. Only this backup can undo the restore."
        )
        with context.locked("a restore"):
            # A supervisor may have started the workers again meanwhile.
            stopped = tuple(dict.fromkeys((*stopped, *ensure_workers_stopped(context, plan.policy))))
            with announced(RESTORE, "swap", plan.backup_ids):
                left_out = _replace(context, plan, saved)
    # The queues are purged last: a restore that fails must not discard tasks.
    with hooks.incomplete_when_interrupted():
        purged, problems = purge(plan.policy, plan.workers)
        warnings = (*problems, *_after_commit(context, plan, saved))
    return InPlaceResult(
        backup_id=plan.backup_id,
        saved=saved,
        left_out=left_out,
        warnings=warnings,
        stopped=stopped,
        purged=purged,
    )


def _save_first(own: BackupContext, plan: InPlacePlan) -> str:
    """Back up the complete database, with the rows that the settings exclude; return the id of the backup."""
    complete = replace(own, config=replace(own.config, exclude_table_data={}))
    return run_backup(complete, BackupRequest(databases=(plan.part.alias,), label=LABEL)).id


def _replace(context: BackupContext, plan: InPlacePlan, saved: str) -> tuple[str, ...]:
    stored, alias = plan.part.dump, plan.part.alias
    engine = _engine(context, alias)
    try:
        with context.observe(f"database {alias}") as observer:
            observer.begin(stored.raw_bytes)
            blocks = context.download(stored, list(plan.identities))
            return engine.restore_in_place(
                observer.monitor(blocks, source="the storage", sink="psql"), plan.details, plan.selection
            )
    except UnfinishedError as error:
        raise UnfinishedError(str(error), hint=f"The previous contents are in backup {saved}.") from None


def how_to_undo(alias: str, saved: str) -> str:
    """Return the command that restores the previous contents."""
    return f"python manage.py restore_all {saved} --in-place --only {shlex.quote(alias)}"


def _after_commit(context: BackupContext, plan: InPlacePlan, saved: str) -> tuple[str, ...]:
    """Check the live database and, if it works, run ``AFTER_RESTORE``. Return warnings."""
    try:
        if plan.details.migrations:
            with announced(RESTORE, "check", plan.backup_ids):
                sandbox.check([plan.part.alias])
    except BackupError as error:
        not_run = ("AFTER_RESTORE was not run.",) if context.config.after_restore else ()
        return (f"{error} To undo the restore: {how_to_undo(plan.part.alias, saved)}.", *not_run)
    return hooks.after_restore(context, plan.backup_ids)


def _engine(context: BackupContext, alias: str) -> Engine:
    engine = context.engine(alias)
    engine.require(Capability.IN_PLACE, unchanged="Nothing was changed.", hint="Restore without --in-place.")
    return engine
