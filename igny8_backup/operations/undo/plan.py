"""Plan an undo or a redo: what is live now, what comes back, and what would vanish."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from igny8_backup.common.humanize import age_in_words
from igny8_backup.errors import StorageError, UsageError
from igny8_backup.journal import DONE, SWAPPING, UNDONE, Journal
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.safety_copies import held_copies, last_in_place
from igny8_backup.operations.restore import tree as restore_tree
from igny8_backup.operations.restore.in_place import how_to_undo
from igny8_backup.operations.restore.swaps import engine_of
from igny8_backup.operations.undo.copies import Exchange, find_exchanges, kept_since
from igny8_backup.operations.undo.history import CLEAN, COMMAND, REDO, Step, choose


@dataclass(frozen=True, kw_only=True)
class UndoPlan:
    """The plan of ``undo_restore``: the step, and what is exchanged."""

    created: datetime
    step: Step
    exchanges: tuple[Exchange, ...]

    @property
    def journal(self) -> Journal:
        return self.step.journal

    @property
    def vanishing(self) -> tuple[Exchange, ...]:
        """The databases and trees that have live data now and will have none afterwards."""
        return tuple(item for item in self.exchanges if item.vanishes)

    def require_feasible(self) -> None:
        """Do nothing: ``plan_undo`` raises an error for a restore that cannot be undone."""


def plan_undo(context: BackupContext, stamp: str = "") -> UndoPlan:
    """Plan to undo or redo a restore, by default the one that was swapped last.

    ``stamp`` is the start time of the restore, which identifies it. Nothing is changed. Raises ``UsageError``
    if there is no restore to undo, or if the data to bring back is gone; ``FilesError``, ``DatabaseError``.
    """
    step = next_step(context, stamp)
    require_kept(context, step)
    found = [] if step.action == CLEAN else find_exchanges(context, step.journal, step.action)
    return UndoPlan(created=context.clock(), step=step, exchanges=tuple(found))


def next_step(context: BackupContext, stamp: str = "") -> Step:
    """Return the undo or redo of a restore, by default of the one that was swapped last.

    ``stamp`` is the start time of the restore, which identifies it. Raises ``UsageError`` if there is no such
    restore. Without ``stamp``, also raises ``UsageError`` if the last restore was in place: such a restore
    can only be undone by restoring its safety copy, a backup.
    """
    journals = context.journals.all()
    if not (journals or stamp):
        _refuse_in_place(context)
    step = choose(journals, stamp)
    last = None if stamp else last_in_place(context)
    if last and step.journal.phase in (DONE, UNDONE) and last.ended > kept_since(step.journal):
        raise UsageError(
            f"The last restore was in place: it replaced the contents of {last.alias!r} after the restore"
            f" {step.journal.stamp}.",
            unchanged="Nothing was changed.",
            hint=f"To go back to what it replaced: {how_to_undo(last.alias, last.saved)}. To {step.action}"
            f" the restore before it: {COMMAND} {step.journal.stamp}.",
        )
    return step


def require_kept(context: BackupContext, step: Step) -> None:
    """Raise ``UsageError`` or ``FilesError`` if a database or tree that is to become live again is missing.

    An interrupted undo or redo is not checked, because some of its databases and trees are live already.
    """
    journal = step.journal
    if journal.phase == SWAPPING:
        _require_previous(context, journal)
    if journal.phase not in (DONE, UNDONE):
        return
    for swap in journal.databases:
        name = swap.staging if step.action == REDO else swap.previous
        if (step.action == REDO or swap.existed) and not engine_of(context, swap).exists(name):
            which = "restored" if step.action == REDO else "previous"
            raise UsageError(
                f"The {which} database of {swap.name} is gone: there is no database {name}.",
                hint=f"Restore a backup instead. undo_restore --discard {journal.stamp} removes the record of"
                " this restore.",
            )
    for tree in journal.trees:
        restore_tree.require_kept_tree(tree)


def _require_previous(context: BackupContext, journal: Journal) -> None:
    """Raise ``UsageError`` if an interrupted restore cannot be undone, because a previous database is gone.

    The previous database is the one that the restore has replaced.
    """
    for swap in journal.databases:
        engine = engine_of(context, swap)
        if swap.existed and not engine.exists(swap.staging) and not engine.exists(swap.previous):
            raise UsageError(
                f"The previous database of {swap.name} is gone: there is no database {swap.previous}.",
                hint="Run restore_all, which completes the restore, because there is nothing to go back to.",
            )


def _refuse_in_place(context: BackupContext) -> None:
    """Raise ``UsageError`` if there is a safety copy (a backup made before a restore in place).

    The hint says how to restore the safety copy, because ``undo_restore`` cannot undo a restore in place.
    """
    try:
        held = [(item, part) for item in held_copies(context) for part in item.databases]
    except StorageError:
        return
    if held:
        manifest, part = held[0]
        age = age_in_words(manifest.started, context.clock())
        raise UsageError(
            "undo_restore cannot undo a restore in place, and there is no other restore to undo.",
            unchanged="Nothing was changed.",
            hint=f"What {part.alias!r} held {age} ago, before the newest restore in place, is in backup"
            f" {manifest.id}. To go back to it: {how_to_undo(part.alias, manifest.id)}",
        )
