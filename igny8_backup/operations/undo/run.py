"""Undo the restore that was swapped last, or redo it if it was undone."""

from __future__ import annotations

from dataclasses import dataclass, replace

from igny8_backup.errors import FilesError, RefusedError, UnfinishedError
from igny8_backup.journal import DONE, READY, SWAPPING, UNDOING, UNDONE, Journal
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.restore import hooks
from igny8_backup.operations.restore import tree as restore_tree
from igny8_backup.operations.restore.decision import is_decided
from igny8_backup.operations.restore.swaps import complete_swap, remove_staging, swap_again, swap_back_all
from igny8_backup.operations.restore.workers import WorkersPolicy, ensure_workers_stopped
from igny8_backup.operations.undo.copies import GLANCE, find_exchanges, is_discardable
from igny8_backup.operations.undo.history import CLEAN, REDO, Step
from igny8_backup.operations.undo.plan import UndoPlan, next_step, require_kept
from igny8_backup.signals import UNDO, announced


@dataclass(frozen=True, kw_only=True)
class UndoResult:
    """The result of an undo or redo.

    ``journal`` names the databases and folders that hold the data that is no longer live. ``journals`` are
    those of all restores that keep data. ``discardable``: no part of the kept data is the only copy, so
    it may be deleted. ``warnings`` are problems after the exchange. ``stopped`` are the names of the workers
    that were stopped.
    """

    journal: Journal
    journals: tuple[Journal, ...] = ()
    discardable: bool = True
    warnings: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()


def finished_restores(context: BackupContext) -> list[Journal]:
    """Return the journals (records) of restores and undos that keep the data that they replaced.

    The newest one is the first.
    """
    return [item for item in reversed(context.journals.all()) if item.phase in (DONE, UNDONE)]


def undo(
    context: BackupContext,
    policy: WorkersPolicy | None = None,
    *,
    stamp: str = "",
    plan: UndoPlan | None = None,
) -> UndoResult:
    """Undo a restore: make the data that it replaced live again. If it was undone already, redo it.

    ``stamp`` is the start time of the restore. By default, the restore that was swapped last is undone. The
    data that was live is kept until it is discarded. Workers are handled as ``policy`` says, and hooks run as
    for a restore. A restore that was interrupted during its swap is undone. A restore that was interrupted
    before its swap has not changed any live data, so only its staging databases and folders are removed.

    Raises ``UsageError`` if there is no restore to undo, or the data to bring back is gone; ``RefusedError``
    if workers are running; ``ToolError`` if a hook fails; ``UnfinishedError`` if the exchange has begun and
    failed. With a ``plan``, also raises ``RefusedError`` if the step is not that of the plan, or if live data
    would vanish that the plan does not show.
    """
    with context.locked("undoing a restore", storage=False):
        step = next_step(context, stamp or (plan.journal.stamp if plan else ""))
        journal = step.journal
        if plan:
            _require_as_planned(context, plan, step)
        if step.action == CLEAN:
            _require_undecided(context, journal)
            remove_staging(context, journal)
            context.progress.note(
                "The interrupted restore had not changed any live data. The databases and folders that it had"
                " prepared were removed."
            )
            return UndoResult(journal=journal)
        require_kept(context, step)
        with hooks.before_restore(context, journal.backup_ids, operation=UNDO):
            stopped = ensure_workers_stopped(context, policy or WorkersPolicy())
            with announced(UNDO, "swap", journal.backup_ids):
                journal = _exchange(context, step)
        with hooks.incomplete_when_interrupted():
            journals = tuple(context.journals.all())
            discardable = is_discardable(context, journal)
    with hooks.incomplete_when_interrupted():
        warnings = hooks.after_restore(context, journal.backup_ids, operation=UNDO)
    return UndoResult(
        journal=journal,
        journals=journals,
        discardable=discardable,
        warnings=warnings,
        stopped=stopped,
    )


def _require_undecided(context: BackupContext, journal: Journal) -> None:
    """Raise ``RefusedError`` if the restore is ready and its fleet restore is decided, or may still be."""
    if journal.phase == READY and is_decided(context, journal):
        raise RefusedError(
            f"The fleet restore {journal.fleet} was decided, so this host must complete its restore first.",
            unchanged="Nothing was changed.",
            hint="Run restore_all to complete it. Then undo it with undo_restore.",
        )


def _exchange(context: BackupContext, step: Step) -> Journal:
    journal = step.journal
    if journal.phase == UNDOING:
        return complete_swap(context, journal)
    if step.action == REDO:
        return swap_again(context, context.journals.in_turn(journal, context.clock()))
    try:
        for tree in journal.trees:  # all of them, before the first database is swapped
            restore_tree.check_swap_back(tree)
    except FilesError as error:
        if journal.phase == DONE:
            raise
        raise UnfinishedError(*error.parts) from error  # the restore is still half done
    if journal.phase == SWAPPING:
        context.progress.note("An earlier restore was interrupted during its swap. Undoing it now.")
    else:
        journal = context.journals.in_turn(journal, context.clock())
    journal = replace(journal, fleet_undo=context.fleet or journal.fleet_undo)
    return swap_back_all(context, context.journals.write(journal, UNDOING))


def _require_as_planned(context: BackupContext, plan: UndoPlan, step: Step) -> None:
    """Raise ``RefusedError`` if ``step`` is not that of ``plan``, or if other live data would vanish.

    Another run may have changed something after the plan was made and before this run got the lock.
    """
    same = step == plan.step
    if same and step.action != CLEAN:
        agreed = {(item.kind, item.name) for item in plan.vanishing}
        found = find_exchanges(context, step.journal, step.action, limit=GLANCE)
        same = all((item.kind, item.name) in agreed for item in found if item.vanishes)
    if not same:
        raise RefusedError(
            "The live data, or the data that restores keep, has changed since the plan was shown.",
            unchanged="Nothing was changed.",
            hint="Run undo_restore again and read the new plan.",
        )
