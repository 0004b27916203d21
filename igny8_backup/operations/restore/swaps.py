"""Exchange the live databases and trees with the restored ones, and back.

The next run can complete an interrupted exchange.
"""

from __future__ import annotations

from dataclasses import replace

from igny8_backup.common.outside import is_from_outside
from igny8_backup.databases.engine import Engine
from igny8_backup.errors import BackupError, RefusedError, UnfinishedError
from igny8_backup.formats.comparison import Expected
from igny8_backup.journal import DONE, READY, REDOING, SWAPPING, UNDOING, UNDONE, DatabaseSwap, Journal
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history import expected_sizes
from igny8_backup.operations.restore import tree as restore_tree


def swap_all(context: BackupContext, journal: Journal, *, resumed: bool = False) -> Journal:
    """Make every restored database live, then every restored tree.

    ``resumed``: an earlier run was interrupted, and may have swapped some databases and trees.

    After a failure before the first swap, the staging databases and folders are removed. After a later
    failure or a signal, raises :class:`UnfinishedError` and keeps the journal. Each database and tree is then
    either the previous one or completely the restored one.
    """
    begun = resumed
    try:
        # A tree that cannot be swapped is found before anything is.
        ready = tuple(restore_tree.replan(context, tree) for tree in journal.trees)
        journal = context.journals.write(replace(journal, trees=ready), SWAPPING)
        for swap in journal.databases:
            engine = engine_of(context, swap)
            # If a restore is resumed and there is no staging database, this database was swapped already.
            if not resumed or engine.exists(swap.staging):
                engine.swap(swap.staging, swap.previous, swap.details)
            begun = True
        for number, tree in enumerate(journal.trees):
            # A running application may have written files into the root since the swap was planned.
            trees = list(journal.trees)
            trees[number] = restore_tree.replan(context, tree)
            journal = context.journals.write(replace(journal, trees=tuple(trees)))
            restore_tree.swap(trees[number])
            begun = True
        _announce_sizes(context, journal, undone=False)
        return context.journals.write(journal, DONE)
    except BaseException as error:
        if not (isinstance(error, BackupError) or is_from_outside(error)):
            raise
        resumable = not isinstance(error, BackupError) or isinstance(error, UnfinishedError)
        if begun or resumable or not _nothing_swapped(context, journal):
            raise UnfinishedError(
                f"The restore was interrupted during the swap: {_reason(error)}",
                unchanged="Each database and tree is entirely the previous one or entirely the restored one.",
                hint="Run restore_all again to complete it, or undo_restore to go back.",
            ) from error
        remove_staging(context, journal)
        raise


def swap_back_all(context: BackupContext, journal: Journal) -> Journal:
    """Make the previous databases and trees live again.

    If the swap was interrupted, databases and trees that were not swapped yet stay live. The restored
    databases get the names of the staging databases, the restored trees the places of the previous trees.
    Raises :class:`UnfinishedError` if a swap fails or a signal arrives; the journal is kept.
    """
    try:
        for swap in journal.databases:
            engine = engine_of(context, swap)
            if swap.existed or not engine.exists(swap.staging):
                engine.swap_back(swap.previous, swap.staging, existed=swap.existed)
        for tree in journal.trees:
            restore_tree.swap_back(tree)
        _announce_sizes(context, journal, undone=True)
        return context.journals.write(journal, UNDONE)
    except BaseException as error:
        if not (isinstance(error, BackupError) or is_from_outside(error)):
            raise
        raise UnfinishedError(
            f"undo_restore was interrupted: {_reason(error)}",
            unchanged="Each database and tree is entirely the previous one or entirely the restored one.",
            hint="Run undo_restore again to complete it.",
        ) from error


def swap_again(context: BackupContext, journal: Journal) -> Journal:
    """Make the restored databases and trees of an undone restore live again.

    The databases and trees that are live now are kept.

    Raises :class:`UnfinishedError` if a swap fails or a signal arrives; the journal is kept.
    """
    databases = tuple(
        replace(swap, existed=engine_of(context, swap).target().exists) for swap in journal.databases
    )
    # From here on a later run completes the swap, or undoes it.
    journal = context.journals.write(replace(journal, databases=databases), REDOING)
    trees = tuple(restore_tree.plan_again(tree) for tree in journal.trees)
    return swap_all(context, replace(journal, trees=trees), resumed=True)


def complete_swap(context: BackupContext, journal: Journal) -> Journal:
    """Complete an interrupted restore, undo or redo whose swap has begun; return the new journal.

    A restore in the phase ``ready`` must have been decided: see ``decision``. If no swap was
    interrupted, the journal is returned unchanged.
    """
    if journal.phase == READY:
        context.progress.note("An earlier restore was interrupted before its swap. Completing it now.")
        return swap_all(context, journal, resumed=True)
    if journal.phase == SWAPPING:
        context.progress.note("An earlier restore was interrupted during its swap. Completing it now.")
        return swap_all(context, journal, resumed=True)
    if journal.phase == UNDOING:
        context.progress.note("An earlier undo_restore was interrupted. Completing it now.")
        return swap_back_all(context, journal)
    if journal.phase == REDOING:
        context.progress.note("An earlier undo_restore was interrupted. Completing it now.")
        return swap_again(context, journal)
    return journal


def _announce_sizes(context: BackupContext, journal: Journal, *, undone: bool) -> None:
    """Record the sizes of the data that is live now, for the next backup.

    Without this record, the next backup could report a database or tree as shrunk. ``undone``: the previous
    data is live again. Its size is not known, so the next backup accepts every size but zero.
    """
    previous = Expected(by=expected_sizes.UNDO, backup_id=journal.backup_ids[0] if journal.backup_ids else "")
    for swap in journal.databases:
        expected_sizes.announce(context, "database", swap.alias, previous if undone else swap.expected)
    for tree in journal.trees:
        expected_sizes.announce(context, "files", tree.name, previous if undone else tree.expected)


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
    """Delete the data that a finished restore or undo has kept beside the live data, and its journal."""
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
    """Return whether no database was swapped. Also returns ``False`` if that cannot be found out.

    The server may have failed after it committed a swap, so the databases are examined. A staging database is
    missing if it was swapped or if somebody dropped it. If it was dropped, there is no previous database. If
    no live database existed before the restore, the two cases look alike, and ``False`` is returned.
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
