"""The restore: sides beside everything live, checked and migrated; then the swaps, by journal (law 3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from igny8_backup.databases.names import PREVIOUS, STAGING
from igny8_backup.errors import BackupError
from igny8_backup.formats import keys
from igny8_backup.journal import PREPARING, UNDONE, DatabaseSwap, Journal, TreeSwap
from igny8_backup.journal import SCHEMA as JOURNAL_SCHEMA
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.restore import hooks
from igny8_backup.operations.restore import tree as restore_tree
from igny8_backup.operations.restore.plan import DatabasePlan, RestorePlan
from igny8_backup.operations.restore.swaps import finish, remove_stale_staging, swap_all
from igny8_backup.operations.restore.workers import ensure_workers_stopped, purge
from igny8_backup.operations.staging import sandbox, sanitize
from igny8_backup.operations.staging.load import load_staging
from igny8_backup.operations.staging.probe_checks import without_answers
from igny8_backup.signals import RESTORE, UNDO, announced
from igny8_backup.trees.swap.target import SwapTarget


@dataclass(frozen=True, kw_only=True)
class RestoreResult:
    """``journal`` says what is kept aside; ``warnings`` what is not as it should be, though restored.

    ``stopped`` are the workers that were stopped; ``purged`` is how many tasks were discarded, ``None`` where
    that was not asked for.
    """

    journal: Journal
    warnings: tuple[str, ...] = ()
    resumed: bool = False
    stopped: tuple[str, ...] = ()
    purged: int | None = None


def resume_restore(context: BackupContext) -> RestoreResult | None:
    """Settles what an earlier run left: completes a restore or an undo that was interrupted in its swap,
    removes the sides of one that had changed nothing. The result is of what was completed, if anything was.
    """
    if context.journals.unfinished() is None:
        return None
    with context.locked("a restore"):
        return _settle(context)


def run_restore(context: BackupContext, plan: RestorePlan) -> RestoreResult:
    """Carries the plan out.

    Until the swap nothing live is touched: a failure removes the sides and raises. A restore or undo that was
    interrupted in its swap is completed first, and then nothing else is done: the result says ``resumed``.
    Raises ``UnfinishedError`` when a swap began and could not be completed.
    """
    with context.locked("a restore"):
        if settled := _settle(context):
            return settled
        plan.require_feasible()
        with hooks.before_restore(context, plan.backup_ids):
            stopped = ensure_workers_stopped(context, plan.policy)
            journal = _journal(context, plan)
            try:
                context.journals.write(journal)
                with announced(RESTORE, "prepare", plan.backup_ids):
                    _prepare_databases(context, plan, journal)
                    journal = _prepare_trees(context, plan, journal)
                # What restarts workers may have brought them back.
                stopped = tuple(dict.fromkeys((*stopped, *ensure_workers_stopped(context, plan.policy))))
            except BaseException as error:
                if isinstance(error, BackupError):
                    error.add_context("Nothing live was changed.")
                _clean(context, journal)
                if stopped:
                    context.progress.note("Workers were stopped and nothing was restored: start them again.")
                raise
            with announced(RESTORE, "swap", plan.backup_ids):
                journal = swap_all(context, journal)
        # Not before: a restore that fails must not cost the tasks that wait.
        with hooks.when_restored():
            purged, trouble = purge(plan.policy, plan.workers)
    warnings = (*trouble, *_after(context, journal))
    return RestoreResult(journal=journal, warnings=warnings, stopped=stopped, purged=purged)


def _settle(context: BackupContext) -> RestoreResult | None:
    interrupted = context.journals.unfinished()
    if interrupted is None:
        return None
    if interrupted.phase != PREPARING:
        journal = finish(context, interrupted)
        return RestoreResult(journal=journal, warnings=_after(context, journal), resumed=True)
    context.progress.note(
        f"A restore begun {interrupted.started:%Y-%m-%d %H:%M:%S} UTC was interrupted before it changed"
        " anything; what it left is removed."
    )
    remove_stale_staging(context, interrupted)
    return None


def _clean(context: BackupContext, journal: Journal) -> None:
    """Removes the sides after a failure, which a second one must not hide: the next run tries again."""
    try:
        remove_stale_staging(context, journal)
    except BackupError as error:
        context.progress.note(f"What was begun could not be removed, the next restore_all will: {error}")


def _journal(context: BackupContext, plan: RestorePlan) -> Journal:
    stamp = _free_stamp(context)
    databases = []
    for item in plan.databases:
        engine = context.engine(item.part.alias)
        databases.append(
            DatabaseSwap(
                alias=item.part.alias,
                name=item.target.name,
                staging=engine.derived_name(STAGING, stamp),
                previous=engine.derived_name(PREVIOUS, stamp),
                existed=item.target.exists,
                # What its probes answered has no place on this disk.
                details=without_answers(item.details),
                place=engine.identity(),
            )
        )
    whole = context.config.swap_whole
    trees = [
        TreeSwap(
            name=item.part.name,
            root=str(item.root),
            previous=str(SwapTarget(root=item.root, stamp=stamp, swap_root=item.part.name in whole).previous),
            swap_root=item.part.name in whole,
        )
        for item in plan.trees
    ]
    return Journal(
        schema=JOURNAL_SCHEMA,
        stamp=stamp,
        phase=PREPARING,
        started=context.clock(),
        backup_ids=plan.backup_ids,
        databases=tuple(databases),
        trees=tuple(trees),
    )


def _free_stamp(context: BackupContext) -> str:
    """A stamp later than that of every journal, which tells what to undo first: two small restores may begin
    within a second, and a clock may have been set back."""
    newest = max((journal.stamp for journal in context.journals.all()), default="")
    now = keys.stamp(context.clock())
    return now if now > newest else keys.stamp(keys.stamp_time(newest) + timedelta(seconds=1))


def _prepare_databases(context: BackupContext, plan: RestorePlan, journal: Journal) -> None:
    sides = {swap.alias: swap.staging for swap in journal.databases}
    for item in plan.databases:
        _prepare_database(context, plan, item, sides[item.part.alias])
    migrated = {item.part.alias: sides[item.part.alias] for item in plan.databases if item.details.migrations}
    if migrated:
        context.progress.note("Migrating the restored schema to the code's.")
        with announced(RESTORE, "migrate", plan.backup_ids):
            sandbox.migrate(migrated)
    if plan.sanitize:
        with announced(RESTORE, "sanitize", plan.backup_ids):
            sanitize.sanitize(context, sides)


def _prepare_database(context: BackupContext, plan: RestorePlan, item: DatabasePlan, side: str) -> None:
    alias = item.part.alias
    engine = context.engine(alias)
    engine.create_staging(side, item.details)
    left_out = load_staging(
        context,
        engine,
        side,
        item.part,
        item.details,
        list(plan.identities),
        selection=item.wanted,
        # Statistics of what is to be sanitized would hold it still.
        analyze=not (plan.sanitize and sanitize.has_sanitizers(context.config, alias)),
    )
    if left_out:
        context.progress.note(f"{alias}: left out, to be made by hand: {', '.join(left_out)}.")


def _prepare_trees(context: BackupContext, plan: RestorePlan, journal: Journal) -> Journal:
    done = []
    swaps = {swap.name: swap for swap in journal.trees}
    for item in plan.trees:
        swap = swaps[item.part.name]
        context.progress.begin(f"files {item.part.name}", item.part.bytes)
        try:
            swap_plan = restore_tree.prepare(
                context,
                item.part,
                restore_tree.place_of(swap, journal.stamp),
                list(plan.identities),
                context.progress.advance,
                allow_set_id=plan.allow_set_id,
            )
        finally:
            context.progress.end()
        done.append(replace(swap, plan=swap_plan))
    return replace(journal, trees=tuple(done))


def _after(context: BackupContext, journal: Journal) -> tuple[str, ...]:
    """Checks what is live now; if all is well, runs the hooks. Returns warnings."""
    with hooks.when_restored():
        if journal.phase == UNDONE:
            return hooks.after_restore(context, journal.backup_ids, operation=UNDO)
        warnings = _check(journal)
        if not warnings:
            return hooks.after_restore(context, journal.backup_ids)
    return (*warnings, "AFTER_RESTORE was not run.") if context.config.after_restore else warnings


def _check(journal: Journal) -> tuple[str, ...]:
    """Connects as the application will; a failure is a warning, because all is restored and can be undone."""
    aliases = [swap.alias for swap in journal.databases if swap.details.migrations]
    if not aliases:
        return ()
    try:
        with announced(RESTORE, "check", journal.backup_ids):
            sandbox.check(aliases)
    except BackupError as error:
        return (f"{error} To go back: python manage.py undo_restore.",)
    return ()
