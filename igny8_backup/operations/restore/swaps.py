"""The swaps of a restore and of its undoing, resumable from the journal at any point."""

from __future__ import annotations

from dataclasses import replace

from igny8_backup.databases.engine import Engine
from igny8_backup.errors import BackupError, RefusedError, UnfinishedError
from igny8_backup.journal import DONE, SWAPPING, UNDOING, UNDONE, DatabaseSwap, Journal
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.restore import tree as restore_tree


def swap_all(context: BackupContext, journal: Journal, *, resumed: bool = False) -> Journal:
    """Swaps every database, then every tree; ``resumed`` where an earlier run began that.

    A failure before anything was changed removes the sides and raises. A later one, a signal too, raises
    :class:`UnfinishedError`: the journal stays, and what was swapped is whole.
    """
    begun = resumed
    try:
        journal = context.journals.write(journal, SWAPPING)
        for swap in journal.databases:
            engine = engine_of(context, swap)
            # No side says that an earlier run swapped it; without one, that somebody took it away.
            if not resumed or engine.exists(swap.staging):
                engine.swap(swap.staging, swap.previous, swap.details)
            begun = True
        for number, tree in enumerate(journal.trees):
            # Planned at the last moment: an application that still runs may have put something into the root.
            trees = list(journal.trees)
            trees[number] = restore_tree.planned_again(tree)
            journal = context.journals.write(replace(journal, trees=tuple(trees)))
            restore_tree.swap(trees[number])
            begun = True
        return context.journals.write(journal, DONE)
    except (BackupError, KeyboardInterrupt) as error:
        if (
            begun
            or isinstance(error, (UnfinishedError, KeyboardInterrupt))
            or not _all_aside(context, journal)
        ):
            raise UnfinishedError(
                f"The restore was interrupted in its swap: {_reason(error)}",
                unchanged="What was swapped is whole, and so is what was not.",
                hint="Run restore_all again to complete it, then undo_restore to go back if need be.",
            ) from error
        remove_stale_staging(context, journal)
        raise


def swap_back_all(context: BackupContext, journal: Journal) -> Journal:
    """Brings back what was before, and keeps the restored aside under the names of the sides' ``before``.

    Raises :class:`UnfinishedError` when something stands in the way, or on a signal; the journal stays.
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
            unchanged="What was swapped back is whole, and so is what was not.",
            hint="Run undo_restore again to complete it.",
        ) from error


def engine_of(context: BackupContext, swap: DatabaseSwap) -> Engine:
    """The engine of a database of a journal. Raises :class:`RefusedError` where its alias leads to another
    database than it did: a journal must not be carried out on that."""
    engine = context.engine(swap.alias)
    place = engine.identity()
    if swap.place and place != swap.place:
        raise RefusedError(
            f"The journal of the restore is of {swap.place}, and DATABASES[{swap.alias!r}] leads to {place}.",
            unchanged="Nothing was changed.",
            hint="Run it with the settings of the restore, or with the STATE_DIR that belongs to these.",
        )
    return engine


def _all_aside(context: BackupContext, journal: Journal) -> bool:
    """Whether no database was swapped, as far as can be told: a server may have committed and not said so.

    A side that is gone was swapped, unless what was live is not kept either: then somebody took it away.
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


def finish(context: BackupContext, journal: Journal) -> Journal:
    """Completes what was interrupted, in the direction it had."""
    if journal.phase == SWAPPING:
        context.progress.note("An earlier restore was interrupted in its swap; it is completed now.")
        return swap_all(context, journal, resumed=True)
    if journal.phase == UNDOING:
        context.progress.note("An earlier undo_restore was interrupted; it is completed now.")
        return swap_back_all(context, journal)
    return journal


def remove_stale_staging(context: BackupContext, journal: Journal) -> None:
    """Removes the sides of a restore that changed nothing, and its journal."""
    for tree in journal.trees:
        place = restore_tree.place_of(tree, journal.stamp)
        restore_tree.remove_staging(place)
        restore_tree.remove_scratch(context.config.scratch_dir, place)
    for swap in journal.databases:
        engine_of(context, swap).drop(swap.staging)
    context.journals.remove(journal)


def discard(context: BackupContext, journal: Journal) -> None:
    """Removes what a finished restore (or undo) keeps aside, for good."""
    for swap in journal.databases:
        engine = engine_of(context, swap)
        engine.drop(swap.previous if journal.phase == DONE else swap.staging)
    for tree in journal.trees:
        restore_tree.remove_kept(restore_tree.place_of(tree, journal.stamp))
    context.journals.remove(journal)
