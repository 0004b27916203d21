"""Undo the newest restore, or delete the previous data that restores have kept."""

from __future__ import annotations

from dataclasses import dataclass

from igny8_backup.errors import UsageError
from igny8_backup.journal import DONE, PREPARING, SWAPPING, UNDOING, UNDONE, Journal
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.restore import hooks
from igny8_backup.operations.restore import tree as restore_tree
from igny8_backup.operations.restore.swaps import (
    complete_swap,
    discard,
    engine_of,
    remove_staging,
    swap_back_all,
)
from igny8_backup.operations.restore.workers import WorkersPolicy, ensure_workers_stopped
from igny8_backup.signals import UNDO, announced


@dataclass(frozen=True, kw_only=True)
class UndoResult:
    """The result of an undo.

    ``journal`` has the names of the databases and folders with the restored data. ``warnings`` are problems
    after everything was undone. ``stopped`` are the names of the workers that were stopped.
    """

    journal: Journal
    warnings: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()


def finished_restores(context: BackupContext) -> list[Journal]:
    """Return the journals (records) of the restores and undos whose replaced data is kept, newest first."""
    return [item for item in reversed(context.journals.all()) if item.phase in (DONE, UNDONE)]


def undo(context: BackupContext, policy: WorkersPolicy | None = None) -> UndoResult:
    """Make the data that the newest restore has replaced live again.

    The restored data is kept until :func:`discard_all`. Workers are stopped and hooks run as for a restore.
    If a restore was interrupted during its swap, the swap is completed and then undone. If it had changed
    nothing live, only its staging databases and folders are removed.

    Raises ``UsageError`` if there is no restore to undo, or the previous data is gone; ``RefusedError`` if
    workers answer; ``ToolError`` if a hook fails; ``UnfinishedError`` if the undo has begun and failed.
    """
    with context.locked("undoing a restore"):
        journal = context.journals.unfinished() or next(
            (item for item in finished_restores(context) if item.phase == DONE), None
        )
        if journal is None:
            raise UsageError(
                "There is no restore to undo.",
                hint="Run undo_restore on the host of the restore, with the same STATE_DIR. A discarded"
                " restore cannot be undone.",
            )
        if journal.phase == PREPARING:
            remove_staging(context, journal)
            context.progress.note(
                "The interrupted restore had changed nothing live. Its databases and folders were removed."
            )
            return UndoResult(journal=journal)
        if journal.phase == DONE:
            _require_previous(context, journal)
        with hooks.before_restore(context, journal.backup_ids, operation=UNDO):
            stopped = ensure_workers_stopped(context, policy or WorkersPolicy())
            with announced(UNDO, "swap", journal.backup_ids):
                journal = _swap_back(context, journal)
    with hooks.incomplete_when_interrupted():
        warnings = hooks.after_restore(context, journal.backup_ids, operation=UNDO)
    return UndoResult(journal=journal, warnings=warnings, stopped=stopped)


def discard_all(context: BackupContext) -> list[Journal]:
    """Delete all data that restores and undos have kept; return the journals of those restores.

    Raises ``UsageError`` if there is no such data, or if a restore is unfinished.
    """
    with context.locked("discarding what restores keep"):
        if context.journals.unfinished():
            hint = "Run restore_all to complete it, or undo_restore to undo it. Then discard again."
            raise UsageError("A restore is unfinished.", unchanged="Nothing was deleted.", hint=hint)
        journals = finished_restores(context)
        if not journals:
            what = "No data of earlier restores is kept on this host."
            hint = "Run this on the host of the restore, with the same STATE_DIR."
            raise UsageError(what, unchanged="Nothing was deleted.", hint=hint)
        for journal in journals:
            discard(context, journal)
        return journals


def _swap_back(context: BackupContext, journal: Journal) -> Journal:
    if journal.phase == UNDOING:
        return complete_swap(context, journal)
    if journal.phase == SWAPPING:
        journal = complete_swap(context, journal)
        _require_previous(context, journal)
    return swap_back_all(context, context.journals.write(journal, UNDOING))


def _require_previous(context: BackupContext, journal: Journal) -> None:
    """Raise ``UsageError`` or ``FilesError`` if a previous database or tree is missing."""
    for swap in journal.databases:
        if swap.existed and not engine_of(context, swap).exists(swap.previous):
            what = f"The previous database of {swap.name} is gone: there is no database {swap.previous}."
            hint = "Restore a backup instead. undo_restore --discard removes the record of this restore."
            raise UsageError(what, hint=hint)
    for tree in journal.trees:
        restore_tree.require_previous_tree(tree)
