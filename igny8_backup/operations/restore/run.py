"""The restore: sides beside everything live, checked and migrated; then the swaps, by journal (law 3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from igny8_backup.errors import BackupError
from igny8_backup.formats import keys
from igny8_backup.journal import PREPARING, UNDONE, DatabaseSwap, Journal, TreeSwap
from igny8_backup.journal import SCHEMA as JOURNAL_SCHEMA
from igny8_backup.operations.context import Toolkit
from igny8_backup.operations.restore import hooks
from igny8_backup.operations.restore import tree as restore_tree
from igny8_backup.operations.restore.plan import DatabasePlan, RestorePlan
from igny8_backup.operations.restore.swaps import clean_sides, finish, swap_all
from igny8_backup.operations.restore.workers import make_quiet, purge
from igny8_backup.operations.staging import sandbox as side_process
from igny8_backup.operations.staging import sanitize
from igny8_backup.operations.staging.load import load_side
from igny8_backup.operations.staging.probe_checks import without_answers
from igny8_backup.signals import RESTORE, UNDO, announced
from igny8_backup.trees.swap.target import Place


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


def resume_restore(kit: Toolkit) -> RestoreResult | None:
    """Settles what an earlier run left: completes a restore or an undo that was interrupted in its swap,
    removes the sides of one that had changed nothing. The result is of what was completed, if anything was.
    """
    if kit.journals.unfinished() is None:
        return None
    with kit.locked("a restore"):
        return _settle(kit)


def run_restore(kit: Toolkit, plan: RestorePlan) -> RestoreResult:
    """Carries the plan out.

    Until the swap nothing live is touched: a failure removes the sides and raises. A restore or undo that was
    interrupted in its swap is completed first, and then nothing else is done: the result says ``resumed``.
    Raises ``UnfinishedError`` when a swap began and could not be completed.
    """
    with kit.locked("a restore"):
        if settled := _settle(kit):
            return settled
        plan.require_feasible()
        with hooks.before_restore(kit, plan.backup_ids):
            stopped = make_quiet(kit, plan.policy)
            journal = _journal(kit, plan)
            try:
                kit.journals.write(journal)
                with announced(RESTORE, "prepare", plan.backup_ids):
                    _prepare_databases(kit, plan, journal)
                    journal = _prepare_trees(kit, plan, journal)
                # What restarts workers may have brought them back.
                stopped = tuple(dict.fromkeys((*stopped, *make_quiet(kit, plan.policy))))
            except BaseException as error:
                if isinstance(error, BackupError):
                    error.assure("Nothing live was changed.")
                _clean(kit, journal)
                if stopped:
                    kit.progress.note("Workers were stopped and nothing was restored: start them again.")
                raise
            with announced(RESTORE, "swap", plan.backup_ids):
                journal = swap_all(kit, journal)
        # Not before: a restore that fails must not cost the tasks that wait.
        with hooks.when_restored():
            purged, trouble = purge(plan.policy, plan.workers)
    warnings = (*trouble, *_after(kit, journal))
    return RestoreResult(journal=journal, warnings=warnings, stopped=stopped, purged=purged)


def _settle(kit: Toolkit) -> RestoreResult | None:
    interrupted = kit.journals.unfinished()
    if interrupted is None:
        return None
    if interrupted.phase != PREPARING:
        journal = finish(kit, interrupted)
        return RestoreResult(journal=journal, warnings=_after(kit, journal), resumed=True)
    kit.progress.note(
        f"A restore begun {interrupted.started:%Y-%m-%d %H:%M:%S} UTC was interrupted before it changed"
        " anything; what it left is removed."
    )
    clean_sides(kit, interrupted)
    return None


def _clean(kit: Toolkit, journal: Journal) -> None:
    """Removes the sides after a failure, which a second one must not hide: the next run tries again."""
    try:
        clean_sides(kit, journal)
    except BackupError as error:
        kit.progress.note(f"What was begun could not be removed, the next restore_all will: {error}")


def _journal(kit: Toolkit, plan: RestorePlan) -> Journal:
    stamp = _free_stamp(kit)
    databases = []
    for item in plan.databases:
        engine = kit.engine(item.part.alias)
        databases.append(
            DatabaseSwap(
                alias=item.part.alias,
                name=item.target.name,
                side=engine.aside_name("side", stamp),
                before=engine.aside_name("before", stamp),
                existed=item.target.exists,
                # What its probes answered has no place on this disk.
                details=without_answers(item.details),
                place=engine.place(),
            )
        )
    whole = kit.config.swap_whole
    trees = [
        TreeSwap(
            name=item.part.name,
            root=str(item.root),
            kept=str(Place(root=item.root, stamp=stamp, whole=item.part.name in whole).kept),
            whole=item.part.name in whole,
        )
        for item in plan.trees
    ]
    return Journal(
        schema=JOURNAL_SCHEMA,
        stamp=stamp,
        phase=PREPARING,
        started=kit.clock(),
        backup_ids=plan.backup_ids,
        databases=tuple(databases),
        trees=tuple(trees),
    )


def _free_stamp(kit: Toolkit) -> str:
    """A stamp later than that of every journal, which tells what to undo first: two small restores may begin
    within a second, and a clock may have been set back."""
    newest = max((journal.stamp for journal in kit.journals.all()), default="")
    now = keys.stamp(kit.clock())
    return now if now > newest else keys.stamp(keys.stamp_time(newest) + timedelta(seconds=1))


def _prepare_databases(kit: Toolkit, plan: RestorePlan, journal: Journal) -> None:
    sides = {swap.alias: swap.side for swap in journal.databases}
    for item in plan.databases:
        _prepare_database(kit, plan, item, sides[item.part.alias])
    migrated = {item.part.alias: sides[item.part.alias] for item in plan.databases if item.details.migrations}
    if migrated:
        kit.progress.note("Migrating the restored schema to the code's.")
        with announced(RESTORE, "migrate", plan.backup_ids):
            side_process.migrate(migrated)
    if plan.sanitize:
        with announced(RESTORE, "sanitize", plan.backup_ids):
            sanitize.sanitize(kit, sides)


def _prepare_database(kit: Toolkit, plan: RestorePlan, item: DatabasePlan, side: str) -> None:
    alias = item.part.alias
    engine = kit.engine(alias)
    engine.create_side(side, item.details)
    left_out = load_side(
        kit,
        engine,
        side,
        item.part,
        item.details,
        list(plan.identities),
        wanted=item.wanted,
        # Statistics of what is to be sanitized would hold it still.
        analyze=not (plan.sanitize and sanitize.has_sanitizers(kit.config, alias)),
    )
    if left_out:
        kit.progress.note(f"{alias}: left out, to be made by hand: {', '.join(left_out)}.")


def _prepare_trees(kit: Toolkit, plan: RestorePlan, journal: Journal) -> Journal:
    done = []
    swaps = {swap.name: swap for swap in journal.trees}
    for item in plan.trees:
        swap = swaps[item.part.name]
        kit.progress.begin(f"files {item.part.name}", item.part.bytes)
        try:
            text = restore_tree.prepare(
                kit,
                item.part,
                restore_tree.place_of(swap, journal.stamp),
                list(plan.identities),
                kit.progress.advance,
                allow_set_id=plan.allow_set_id,
            )
        finally:
            kit.progress.end()
        done.append(replace(swap, plan=text))
    return replace(journal, trees=tuple(done))


def _after(kit: Toolkit, journal: Journal) -> tuple[str, ...]:
    """Checks what is live now; if all is well, runs the hooks. Returns warnings."""
    with hooks.when_restored():
        if journal.phase == UNDONE:
            return hooks.after_restore(kit, journal.backup_ids, operation=UNDO)
        warnings = _check(journal)
        if not warnings:
            return hooks.after_restore(kit, journal.backup_ids)
    return (*warnings, "AFTER_RESTORE was not run.") if kit.config.after_restore else warnings


def _check(journal: Journal) -> tuple[str, ...]:
    """Connects as the application will; a failure is a warning, because all is restored and can be undone."""
    aliases = [swap.alias for swap in journal.databases if swap.details.migrations]
    if not aliases:
        return ()
    try:
        with announced(RESTORE, "check", journal.backup_ids):
            side_process.check(aliases)
    except BackupError as error:
        return (f"{error} To go back: python manage.py undo_restore.",)
    return ()
