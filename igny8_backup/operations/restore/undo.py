"""Going back after a restore, or giving up the way back."""

from __future__ import annotations

from dataclasses import dataclass

from igny8_backup.errors import UsageError
from igny8_backup.journal import DONE, PREPARING, SWAPPING, UNDOING, UNDONE, Journal
from igny8_backup.operations.context import Toolkit
from igny8_backup.operations.restore import hooks
from igny8_backup.operations.restore import tree as restore_tree
from igny8_backup.operations.restore.swaps import clean_sides, discard, engine_of, finish, swap_back_all
from igny8_backup.operations.restore.workers import WorkersPolicy, make_quiet
from igny8_backup.signals import UNDO, announced


@dataclass(frozen=True, kw_only=True)
class UndoResult:
    """``journal`` says what was undone and what is kept; ``warnings`` what is not as it should be, though
    undone. ``stopped`` are the workers that were stopped."""

    journal: Journal
    warnings: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()


def kept(kit: Toolkit) -> list[Journal]:
    """Restores (and undone ones) whose other half is kept aside, newest first."""
    return [item for item in reversed(kit.journals.all()) if item.phase in (DONE, UNDONE)]


def undo(kit: Toolkit, policy: WorkersPolicy | None = None) -> UndoResult:
    """Brings back what was before the newest restore; the restored is kept aside until ``discard_kept``.

    Workers are asked and the hooks are run as for a restore: what is live is exchanged here too. An
    interrupted restore is settled first: one that changed nothing is removed, one in its swap is completed
    and then undone. Raises ``UsageError`` when there is nothing to undo, ``RefusedError`` for workers that
    answer, ``ToolError`` for a hook that fails.
    """
    with kit.locked("undoing a restore"):
        found = kit.journals.unfinished() or next((item for item in kept(kit) if item.phase == DONE), None)
        if found is None:
            raise UsageError(
                "There is no restore to undo.",
                untouched="Nothing was changed.",
                fix="Undo on the host, and with the STATE_DIR, that restored, before it is discarded.",
            )
        if found.phase == PREPARING:
            clean_sides(kit, found)
            kit.progress.note("The interrupted restore had changed nothing; what it left is removed.")
            return UndoResult(journal=found)
        if found.phase == DONE:
            _check_kept(kit, found)
        with hooks.before_restore(kit, found.backup_ids, operation=UNDO):
            stopped = make_quiet(kit, policy or WorkersPolicy())
            with announced(UNDO, "swap", found.backup_ids):
                journal = _go_back(kit, found)
    with hooks.when_restored():
        warnings = hooks.after_restore(kit, journal.backup_ids, operation=UNDO)
    return UndoResult(journal=journal, warnings=warnings, stopped=stopped)


def _go_back(kit: Toolkit, journal: Journal) -> Journal:
    if journal.phase == UNDOING:
        return finish(kit, journal)
    if journal.phase == SWAPPING:
        journal = finish(kit, journal)
        _check_kept(kit, journal)
    return swap_back_all(kit, kit.journals.write(journal, UNDOING))


def _check_kept(kit: Toolkit, journal: Journal) -> None:
    """Raises ``UsageError`` or ``FilesError``, with nothing changed, when what was before is not there."""
    for swap in journal.databases:
        there = engine_of(kit, swap).exists(swap.before)
        if swap.existed and not there:
            raise UsageError(
                f"What {swap.name} was before the restore is gone: there is no database {swap.before}.",
                untouched="Nothing was changed.",
                fix="Restore a backup instead; undo_restore --discard forgets this restore.",
            )
    for tree in journal.trees:
        restore_tree.check_kept(tree)


def discard_kept(kit: Toolkit) -> list[Journal]:
    """Removes all that restores keep aside, for good; returns what was removed.

    Raises ``UsageError`` when there is nothing, or while a restore is unfinished.
    """
    with kit.locked("discarding what restores keep"):
        if kit.journals.unfinished():
            raise UsageError(
                "A restore is unfinished.",
                untouched="Nothing was removed.",
                fix="Run restore_all to complete it or undo_restore to go back, then discard.",
            )
        found = kept(kit)
        if not found:
            raise UsageError("Nothing is kept from a restore.", untouched="Nothing was removed.")
        for journal in found:
            discard(kit, journal)
        return found
