"""Exchange the live databases and trees with the restored ones, and back.

The next run can complete an interrupted exchange.
"""

from __future__ import annotations

from dataclasses import replace

from igny8_backup.databases.engine import Engine
from igny8_backup.errors import BackupError, RefusedError, UnfinishedError
from igny8_backup.journal import DONE, SWAPPING, UNDOING, UNDONE, DatabaseSwap, Journal
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.restore import tree as restore_tree


def swap_all(context: BackupContext, journal: Journal, *, resumed: bool = False) -> Journal:
    """Make every restored database live, then every restored tree.

    ``resumed``: an earlier run may have swapped some of them.

    After a failure before the first swap, the staging databases and folders are removed. After a later
    failure or a signal, raises :class:`UnfinishedError` and keeps the journal. Each database and tree is then
    either the previous one or completely the restored one.
    """
    begun = resumed
    try:
        journal = context.journals.write(journal, SWAPPING)
        for swap in journal.databases:
            engine = engine_of(context, swap)
            # If a restore is resumed and there is no staging database, this database was swapped already.
            if not resumed or engine.exists(swap.staging):
                engine.swap(swap.staging, swap.previous, swap.details)
            begun = True
        for number, tree in enumerate(journal.trees):
            # A running application may have written files into the root since the swap was planned.
            trees = list(journal.trees)
            trees[number] = restore_tree.replan(tree)
            journal = context.journals.write(replace(journal, trees=tuple(trees)))
            restore_tree.swap(trees[number])
            begun = True
        return context.journals.write(journal, DONE)
    except (BackupError, KeyboardInterrupt) as error:
        resumable = isinstance(error, (UnfinishedError, KeyboardInterrupt))
        if begun or resumable or not _nothing_swapped(context, journal):
            raise UnfinishedError(
                f"The restore was interrupted during the swap: {_reason(error)}",
                unchanged="Every database and tree is either the previous or the restored one, complete.",
                hint="Run restore_all again to complete it, then undo_restore if you want to undo it.",
            ) from error
        remove_staging(context, journal)
        raise


def swap_back_all(context: BackupContext, journal: Journal) -> Journal:
    """Make the previous databases and trees live again.

    The restored databases get the names of the staging databases, the restored trees the places of the
    previous trees. Raises :class:`UnfinishedError` if a swap fails or a signal arrives; the journal is kept.
    """
    try:
        for swap in journal.databases:
            engine = engine_of(context, swap)
            if not engine.exists(swap.staging):
                engine.swap_back(swap.previous, swap.staging)
        for tree in journal.trees:
            restore_tree.swap_back(tree)
        return context.journals.write(journal, UNDONE)
    except (BackupError, KeyboardInterrupt) as error:
        raise UnfinishedError(
            f"undo_restore was interrupted: {_reason(error)}",
            unchanged="Every database and tree is either the previous or the restored one, complete.",
            hint="Run undo_restore again to complete it.",
        ) from error


def complete_swap(context: BackupContext, journal: Journal) -> Journal:
    """Complete the swap of an interrupted restore, or the swap back of an interrupted undo."""
    if journal.phase == SWAPPING:
        context.progress.note("An earlier restore was interrupted during its swap. Completing it now.")
        return swap_all(context, journal, resumed=True)
    if journal.phase == UNDOING:
        context.progress.note("An earlier undo_restore was interrupted. Completing it now.")
        return swap_back_all(context, journal)
    return journal


def remove_staging(context: BackupContext, journal: Journal) -> None:
    """Remove the staging databases and folders of a restore that changed nothing live, and its journal."""
    for tree in journal.trees:
        target = restore_tree.target_of(tree, journal.stamp)
        restore_tree.remove_staging_tree(target)
        restore_tree.remove_scratch(context.config.scratch_dir, target)
    for swap in journal.databases:
        engine_of(context, swap).drop(swap.staging)
    context.journals.remove(journal)


def discard(context: BackupContext, journal: Journal) -> None:
    """Delete the data that a finished restore or undo has kept, and its journal."""
    for swap in journal.databases:
        engine = engine_of(context, swap)
        engine.drop(swap.previous if journal.phase == DONE else swap.staging)
    for tree in journal.trees:
        restore_tree.remove_previous_tree(restore_tree.target_of(tree, journal.stamp))
    context.journals.remove(journal)


def engine_of(context: BackupContext, swap: DatabaseSwap) -> Engine:
    """Return the engine (adapter) of a database that the journal of a restore names.

    Raises :class:`RefusedError` if the settings now map its alias to another database.
    """
    engine = context.engine(swap.alias)
    place = engine.identity()
    if swap.place and place != swap.place:
        raise RefusedError(
            f"The journal of the restore names {swap.place}, but DATABASES[{swap.alias!r}] is now {place}.",
            unchanged="Nothing was changed.",
            hint="Use the settings of that restore, or the STATE_DIR that belongs to these settings.",
        )
    return engine


def _nothing_swapped(context: BackupContext, journal: Journal) -> bool:
    """Return whether no database was swapped. The server may have failed after it committed a swap.

    If the staging database is missing, it was swapped, or dropped by somebody. In the second case there is no
    previous database.
    """
    try:
        return all(
            engine.exists(swap.staging) or (swap.existed and not engine.exists(swap.previous))
            for swap in journal.databases
            for engine in [engine_of(context, swap)]
        )
    except BackupError:
        return False


def _reason(error: BaseException) -> str:
    return str(error) or "it was stopped."
