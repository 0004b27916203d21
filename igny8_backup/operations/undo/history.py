"""Decide which restore an undo concerns, and which commands to advise. Only journals are read.

A restore whose data is live can be undone, and a restore that was undone can be redone. If several restores
replaced the same database or tree, the last of them has to be undone first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from igny8_backup.errors import UsageError
from igny8_backup.journal import DONE, PREPARING, READY, REDOING, UNDONE, Journal

UNDO, REDO, CLEAN, DISCARD = "undo", "redo", "clean up", "discard"
"""The actions of ``undo_restore``. ``CLEAN`` removes what is left of a restore that changed nothing live."""
COMMAND = "python manage.py undo_restore"


@dataclass(frozen=True)
class Step:
    """A step that ``undo_restore`` can take, and the journal of the restore that it concerns.

    ``action`` is ``UNDO``, ``REDO``, ``DISCARD`` or ``CLEAN`` (remove what an interrupted restore has
    prepared).
    """

    journal: Journal
    action: str


def choose(journals: Sequence[Journal], stamp: str = "") -> Step:
    """Return the undo or redo of the restore ``stamp``, by default of the one that was swapped last.

    ``stamp`` is the start time of a restore, which identifies it. A restore is undone or, if it was undone
    already, redone. If a restore is unfinished, the step completes, undoes or cleans up that restore. Raises
    ``UsageError`` if there is no such restore, if another one is unfinished, or if a later one has to be
    undone before it.
    """
    unfinished = [item for item in journals if item.phase not in (DONE, UNDONE)]
    if unfinished:
        (journal,) = unfinished[:1]
        if stamp not in ("", journal.stamp):
            raise UsageError(
                f"The restore {journal.stamp} is unfinished.",
                hint=f"Finish it first: {COMMAND}, or restore_all.",
            )
        return Step(journal, {PREPARING: CLEAN, READY: CLEAN, REDOING: REDO}.get(journal.phase, UNDO))
    if not journals:
        raise UsageError(
            "There is no restore to undo.",
            hint="Run undo_restore on the host of the restore, with the same STATE_DIR. A discarded"
            " restore cannot be undone.",
        )
    journal = find(journals, stamp) if stamp else max(journals, key=lambda item: (item.turn, item.stamp))
    if above := _done_above(journals, journal):
        newest = max(above, key=lambda item: item.stamp)
        raise UsageError(
            f"The restore {newest.stamp} replaced the same data later than {journal.stamp}.",
            hint=f"Undo that one first: {COMMAND} {newest.stamp}",
        )
    return Step(journal, UNDO if journal.phase == DONE else REDO)


def find(journals: Sequence[Journal], stamp: str) -> Journal:
    """Return the journal of the restore that began at ``stamp``. Raises ``UsageError`` if there is none."""
    for journal in journals:
        if journal.stamp == stamp:
            return journal
    kept = ", ".join(item.stamp for item in journals) or "none"
    raise UsageError(f"No data of a restore {stamp} is kept.", hint=f"Restores that keep data: {kept}.")


def advice(journals: Sequence[Journal], journal: Journal, *, discardable: bool) -> list[Step]:
    """Return the steps that a user may want to take after a restore, or after its undo.

    ``journal`` is the record of that restore. The steps undo or redo it, undo the restore before it, or
    delete the data that it keeps. The step that deletes is returned only if the data is ``discardable``: no
    part of the data is the only copy.
    """
    steps = [Step(journal, UNDO if journal.phase == DONE else REDO)]
    if journal.phase == UNDONE:
        below = [
            item
            for item in journals
            if item.phase == DONE and _is_above(journal, item) and not _done_above(journals, item)
        ]
        steps += [Step(max(below, key=lambda item: item.stamp), UNDO)] if below else []
    return [*steps, *[Step(journal, DISCARD)] * discardable]


def command(journals: Sequence[Journal], step: Step) -> str:
    """Return the command line of a step.

    The stamp of the restore is left out if the command concerns that restore by default. ``journals`` are
    those of all restores on this host.
    """
    stamp = step.journal.stamp
    if step.action == DISCARD:
        return f"{COMMAND} --discard" + f" {stamp}" * (len(journals) > 1)
    return COMMAND if choose(journals).journal.stamp == stamp else f"{COMMAND} {stamp}"


def _done_above(journals: Sequence[Journal], lower: Journal) -> list[Journal]:
    """Return the later restores that replaced the same data as ``lower`` and were not undone."""
    return [item for item in journals if item.phase == DONE and _is_above(item, lower)]


def _is_above(upper: Journal, lower: Journal) -> bool:
    """Return whether ``upper`` is later than ``lower`` and replaced a database or tree of ``lower`` again."""
    return upper.stamp > lower.stamp and bool(_places(upper) & _places(lower))


def _places(journal: Journal) -> set[tuple[str, str]]:
    databases = {("database", swap.place or swap.name) for swap in journal.databases}
    return databases | {("files", tree.root) for tree in journal.trees}
