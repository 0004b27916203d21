"""Back up a live database, then replace its contents in one transaction.

This is for roles that may not create databases, as on many managed servers. A restore in place is made only
on request: the application has to wait while the transaction runs, and only the backup of the previous
contents can undo it.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from functools import partial

from igny8_backup.celery.workers import Workers
from igny8_backup.databases.capabilities import Capability
from igny8_backup.databases.engine import Engine
from igny8_backup.databases.values import RestoreSelection, Target
from igny8_backup.errors import BackupError, UnfinishedError, UsageError, adding_context
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history import expected_sizes
from igny8_backup.operations.history.safety_copies import remember_in_place
from igny8_backup.operations.history.select_copies import read_given, select_copies
from igny8_backup.operations.read.details import read_details
from igny8_backup.operations.read.dump import open_archives, open_dump
from igny8_backup.operations.restore import hooks
from igny8_backup.operations.restore.other_workers import find_workers
from igny8_backup.operations.restore.planning.preflight import check_objects
from igny8_backup.operations.restore.workers import (
    WorkersPolicy,
    ensure_workers_stopped,
    purge,
    workers_blockers,
    workers_notes,
)
from igny8_backup.operations.selection import ALL, DB, BasePlan, BaseRequest, select_parts
from igny8_backup.operations.staging.live_state import unchanged_live
from igny8_backup.operations.staging.load import add_unfilled_views, collect_statistics
from igny8_backup.operations.staging.origin import check_origin
from igny8_backup.operations.staging.overrides import RestoreOverrides, apply_overrides
from igny8_backup.operations.staging.probe_checks import check_access
from igny8_backup.operations.staging.project_code import sandbox, sanitize
from igny8_backup.operations.staging.project_code.rehearsal import differing_migrations, rehearse
from igny8_backup.signals import RESTORE, announced

LABEL = "before a restore in place"


@dataclass(frozen=True, kw_only=True)
class InPlaceRequest(BaseRequest):
    """A request to restore one database in place.

    ``only`` is an alias, or ``all`` or ``db`` if there is only one database. ``owners``: restore owners and
    privileges. The other fields have the same meaning as in ``RestoreRequest``.
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
    that were not restored. ``stopped`` are the names of the workers that were stopped, ``purged`` is the
    number of discarded tasks.
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

    Raises the errors of ``plan_restore``. Also raises ``UsageError`` unless the request chooses exactly one
    database, which must exist and be a PostgreSQL database.
    """
    given = read_given(context, request.backup_id, from_host=request.from_host, other_hosts=True)
    aliases, _ = select_parts(context.config, DB if request.only == ALL else request.only, given)
    if len(aliases) != 1:
        chosen = f"{', '.join(aliases)} are chosen" if aliases else f"--only {request.only} chooses none"
        raise UsageError(f"--in-place takes exactly one database, but {chosen}.", hint="Give --only ALIAS.")
    selected = select_copies(context, given, databases=aliases, trees=(), from_host=request.from_host)
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
    check_objects(context, [*part.archives, *part.stored_packs])
    workers = find_workers(context.config)
    origin = check_origin(context, engine, manifest, in_place=True)
    dump = open_dump(context, part, identities)
    blockers = [*origin.blockers, *engine.in_place_blockers(part, details, dump)]
    rehearsal = rehearse(context, [details])
    blockers += rehearsal.blockers
    blockers += [f"{part.alias}: {text}" for text in differing_migrations(details, rehearsal)]
    blockers += hooks.blockers(context.config)
    live, hooked = not target.empty, bool(context.config.before_restore)
    blockers += workers_blockers(workers, request.workers, live=live, hooks=hooked)
    keep = request.keep_personal_data
    blockers += sanitize.blockers(context.config, [manifest], aliases, sanitize=False, keep=keep)
    if context.journals.unfinished():
        blockers.append(
            "An earlier restore or undo was interrupted. To complete it: restore_all without --in-place."
        )
    notes = [*selected.notes, *override_notes, *engine.plan_notes(details), *rehearsal.notes, *origin.notes]
    notes += workers_notes(workers, request.workers, live=live)
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
        selection=RestoreSelection(owners=request.owners, untrusted=origin.untrusted),
        notes=tuple(dict.fromkeys(notes)),
        blockers=tuple(blockers),
        identities=tuple(identities),
        vulnerable=origin.to_confirm,
        policy=request.workers,
        workers=workers,
    )


def run_in_place(context: BackupContext, plan: InPlacePlan, own: BackupContext) -> InPlaceResult:
    """Stop the workers, back up the database, then replace its contents in one transaction.

    ``own`` is a context that may write backups, for the backup of the previous contents. After most errors
    the database is unchanged. After ``UnfinishedError`` nobody knows whether the commit succeeded. After
    ``IncompleteError`` the database is restored, but the steps after the commit were interrupted.
    """
    plan.require_feasible()
    stop = partial(ensure_workers_stopped, context, plan.policy, live=not plan.target.empty)
    with hooks.before_restore(context, plan.backup_ids):
        stopped = stop()
        saved = _save_first(context, own, plan)
        context.progress.note(f"The previous contents are in backup {saved}. Only it can undo the restore.")
        with context.locked("a restore"):
            stopped = tuple(dict.fromkeys((*stopped, *stop())))  # a supervisor may have started them again
            check = unchanged_live(context, [plan.part.alias], contents=True, unless_it_succeeds=True)
            with announced(RESTORE, "swap", plan.backup_ids), check:
                left_out = _replace(context, plan, saved)
            remember_in_place(context, plan.part.alias, saved)
            expected = expected_sizes.sizes_of_copy(plan.backup_id, plan.part)
            expected_sizes.announce(context, plan.part.kind, plan.part.alias, expected)
    # The queues are purged last: a restore that fails must not discard tasks.
    with hooks.incomplete_when_interrupted():
        purged, problems = purge(plan.policy, plan.workers)
        add_unfilled_views(context, plan.part.alias, left_out)
        engine = _engine(context, plan.part.alias)
        collect_statistics(context, engine, plan.target.name)
        check_access(context, engine, plan.target.name, plan.details)
        after = _after_commit(context, plan, saved)
    warnings = (*context.shortfalls.take_texts(), *problems, *after)
    return InPlaceResult(
        backup_id=plan.backup_id,
        saved=saved,
        left_out=left_out,
        warnings=warnings,
        stopped=stopped,
        purged=purged,
    )


def _save_first(context: BackupContext, own: BackupContext, plan: InPlacePlan) -> str:
    """Back up the complete database before its contents are replaced; return the id of that backup.

    ``own`` is a context that may write backups. The backup includes the rows that the settings exclude.
    """
    complete = replace(own, config=replace(own.config, exclude_table_data={}, dump_jobs=1))
    result = run_backup(complete, BackupRequest(databases=(plan.part.alias,), label=LABEL, safety=True))
    for item in result.shortfalls:
        context.shortfalls.add(item.part, item.step, item.text)
    return result.id


def _replace(context: BackupContext, plan: InPlacePlan, saved: str) -> tuple[str, ...]:
    engine = _engine(context, plan.part.alias)
    try:
        with context.observe(f"database {plan.part.alias}") as observer:
            observer.begin(plan.part.bytes)
            archives = open_archives(context, plan.part, list(plan.identities))
            main, *data = (observer.monitor(item, source="the storage", sink="psql") for item in archives)
            return engine.restore_in_place(main, plan.details, plan.selection, *data)
    except UnfinishedError as error:
        undo = how_to_undo(plan.part.alias, saved)
        hint = f"The previous contents are in backup {saved}. To restore them: {undo}"
        raise UnfinishedError(str(error), hint=hint) from None


def how_to_undo(alias: str, saved: str) -> str:
    """Return the command that restores the backup ``saved`` of the previous contents of ``alias``."""
    return f"python manage.py restore_all {saved} --in-place --only {shlex.quote(alias)}"


def _after_commit(context: BackupContext, plan: InPlacePlan, saved: str) -> tuple[str, ...]:
    """Check the live database and, if the application can use it, run ``AFTER_RESTORE``. Return warnings."""
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
