"""The swaps of a restore and of its undoing, resumable from the journal at any point."""

from __future__ import annotations

from pathlib import Path

from igny8_backup.errors import BackupError, UnfinishedError
from igny8_backup.journal import DONE, SWAPPING, UNDOING, UNDONE, Journal
from igny8_backup.operations import restore_tree
from igny8_backup.operations.assembly import Toolkit


def swap_all(kit: Toolkit, journal: Journal) -> Journal:
    """Swaps every database, then every tree. A failure before the first swap removes the sides and raises; a
    later one raises :class:`UnfinishedError`."""
    changed = False
    try:
        for swap in journal.databases:
            engine = kit.engine(swap.alias)
            if engine.exists(swap.side):
                engine.swap(swap.side, swap.before, swap.details)
            changed = True
        for tree in journal.trees:
            restore_tree.swap(tree)
            changed = True
    except BackupError as error:
        if changed:
            raise UnfinishedError(
                f"The restore was interrupted in its swap: {error}",
                untouched="What was swapped is whole, and so is what was not.",
                fix="Run restore_all again to complete it, then undo_restore to go back if need be.",
            ) from error
        clean_sides(kit, journal)
        raise
    return kit.journals.write(journal, DONE)


def swap_back_all(kit: Toolkit, journal: Journal) -> Journal:
    """Brings back what was before, and keeps the restored aside under the names of the sides' ``before``."""
    for swap in journal.databases:
        engine = kit.engine(swap.alias)
        if not engine.exists(swap.side):
            engine.swap_back(swap.before, swap.side)
    for tree in journal.trees:
        restore_tree.swap_back(tree)
    return kit.journals.write(journal, UNDONE)


def finish(kit: Toolkit, journal: Journal) -> Journal:
    """Completes what was interrupted, in the direction it had."""
    if journal.phase == SWAPPING:
        kit.progress.note("An earlier restore was interrupted in its swap; it is completed now.")
        return swap_all(kit, journal)
    if journal.phase == UNDOING:
        kit.progress.note("An earlier undo_restore was interrupted; it is completed now.")
        return swap_back_all(kit, journal)
    return journal


def clean_sides(kit: Toolkit, journal: Journal) -> None:
    """Removes the sides of a restore that changed nothing, and its journal."""
    for swap in journal.databases:
        kit.engine(swap.alias).drop(swap.side)
    for tree in journal.trees:
        restore_tree.remove_side(Path(tree.root), journal.stamp)
    kit.journals.remove(journal)


def discard(kit: Toolkit, journal: Journal) -> None:
    """Removes what a finished restore (or undo) keeps aside, for good."""
    for swap in journal.databases:
        engine = kit.engine(swap.alias)
        engine.drop(swap.before if journal.phase == DONE else swap.side)
    for tree in journal.trees:
        restore_tree.remove_kept(Path(tree.root), journal.stamp)
    kit.journals.remove(journal)
