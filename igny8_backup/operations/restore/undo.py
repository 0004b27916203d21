"""Going back after a restore, or giving up the way back."""

from __future__ import annotations

from dataclasses import dataclass

from igny8_backup.errors import UsageError
from igny8_backup.journal import DONE, PREPARING, SWAPPING, UNDOING, UNDONE, Journal
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.restore import hooks
from igny8_backup.operations.restore import tree as restore_tree
from igny8_backup.operations.restore.swaps import (
    discard,
    engine_of,
    finish,
    remove_stale_staging,
    swap_back_all,
)
from igny8_backup.operations.restore.workers import WorkersPolicy, ensure_workers_stopped
from igny8_backup.signals import UNDO, announced


@dataclass(frozen=True, kw_only=True)
class UndoResult:
    """``journal`` says what was undone and what is kept; ``warnings`` what is not as it should be, though
    undone. ``stopped`` are the workers that were stopped."""

    journal: Journal
    warnings: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()


def kept(context: BackupContext) -> list[Journal]:
    """Restores (and undone ones) whose other half is kept aside, newest first."""
    return [item for item in reversed(context.journals.all()) if item.phase in (DONE, UNDONE)]


def undo(context: BackupContext, policy: WorkersPolicy | None = None) -> UndoResult:
    """Brings back what was before the newest restore; the restored is kept aside until ``discard_kept``.

    Workers are asked and the hooks are run as for a restore: what is live is exchanged here too. An
    interrupted restore is settled first: one that changed nothing is removed, one in its swap is completed
    and then undone. Raises ``UsageError`` when there is nothing to undo, ``RefusedError`` for workers that
    answer, ``ToolError`` for a hook that fails.
    """
    with context.locked("undoing a restore"):
        found = context.journals.unfinished() or next(
            (item for item in kept(context) if item.phase == DONE), None
        )
        if found is None:
            raise UsageError(
                "There is no restore to undo.",
                unchanged="Nothing was changed.",
                hint="Undo on the host, and with the STATE_DIR, that restored, before it is discarded.",
            )
        if found.phase == PREPARING:
            remove_stale_staging(context, found)
            context.progress.note("The interrupted restore had changed nothing; what it left is removed.")
            return UndoResult(journal=found)
        if found.phase == DONE:
            _check_kept(context, found)
        with hooks.before_restore(context, found.backup_ids, operation=UNDO):
            stopped = ensure_workers_stopped(context, policy or WorkersPolicy())
            with announced(UNDO, "swap", found.backup_ids):
                journal = _go_back(context, found)
    with hooks.when_restored():
        warnings = hooks.after_restore(context, journal.backup_ids, operation=UNDO)
    return UndoResult(journal=journal, warnings=warnings, stopped=stopped)


def _go_back(context: BackupContext, journal: Journal) -> Journal:
    if journal.phase == UNDOING:
        return finish(context, journal)
    if journal.phase == SWAPPING:
        journal = finish(context, journal)
        _check_kept(context, journal)
    return swap_back_all(context, context.journals.write(journal, UNDOING))


def _check_kept(context: BackupContext, journal: Journal) -> None:
    """Raises ``UsageError`` or ``FilesError``, with nothing changed, when what was before is not there."""
    for swap in journal.databases:
        there = engine_of(context, swap).exists(swap.previous)
        if swap.existed and not there:
            raise UsageError(
                f"What {swap.name} was before the restore is gone: there is no database {swap.previous}.",
                unchanged="Nothing was changed.",
                hint="Restore a backup instead; undo_restore --discard forgets this restore.",
            )
    for tree in journal.trees:
        restore_tree.check_kept(tree)


def discard_kept(context: BackupContext) -> list[Journal]:
    """Removes all that restores keep aside, for good; returns what was removed.

    Raises ``UsageError`` when there is nothing, or while a restore is unfinished.
    """
    with context.locked("discarding what restores keep"):
        if context.journals.unfinished():
            raise UsageError(
                "A restore is unfinished.",
                unchanged="Nothing was removed.",
                hint="Run restore_all to complete it or undo_restore to go back, then discard.",
            )
        found = kept(context)
        if not found:
            raise UsageError("Nothing is kept from a restore.", unchanged="Nothing was removed.")
        for journal in found:
            discard(context, journal)
        return found
