"""Delete the data that restores and undos have kept, unless it is the only copy."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from igny8_backup.common.humanize import one_line
from igny8_backup.errors import RefusedError, StorageError, UsageError
from igny8_backup.formats.manifest import Manifest
from igny8_backup.journal import DONE, Journal
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.safety_copies import held_copies, release
from igny8_backup.operations.restore import swaps
from igny8_backup.operations.restore.in_place import how_to_undo
from igny8_backup.operations.undo.copies import Exchange, find_exchanges, kept_since
from igny8_backup.operations.undo.history import COMMAND, REDO, UNDO, choose, find


@dataclass(frozen=True, kw_only=True)
class KeptData:
    """A database or folder that a restore keeps, and that has not been live since the time ``since``.

    ``stamp`` is the start time of that restore, which identifies it.
    """

    stamp: str
    since: datetime
    exchange: Exchange


@dataclass(frozen=True, kw_only=True)
class DiscardPlan:
    """The plan to delete the data that the restores in ``journals`` keep.

    ``kept`` is that data. ``safety`` are safety copies: backups that restores in place made before they
    changed a database. They are released: the retention policy applies to them from then on. ``blockers`` are
    reasons why the plan cannot be carried out.
    """

    created: datetime
    journals: tuple[Journal, ...]
    kept: tuple[KeptData, ...]
    safety: tuple[Manifest, ...] = ()
    blockers: tuple[str, ...] = ()

    def require_feasible(self) -> None:
        """Raise ``RefusedError`` if something that would be deleted is the only copy."""
        if self.blockers:
            listed = "\n".join(f"  - {one_line(text)}" for text in self.blockers)
            raise RefusedError(
                f"The data that would be deleted is the only copy:\n{listed}\n",
                unchanged="Nothing was deleted.",
                hint="Run the commands above to bring the data back, or restore a backup in its place. Then"
                " run undo_restore --discard again.",
            )


def plan_discard(context: BackupContext, stamps: Collection[str] = ()) -> DiscardPlan:
    """Plan to delete the data that restores keep. Nothing is changed.

    ``stamps`` are the start times that identify the restores. Without ``stamps``, the data of all restores is
    deleted, and the safety copies of restores in place are released. Raises ``UsageError`` if there is no
    such data, or if a restore is unfinished.
    """
    journals = _finished_journals(context)
    safety = () if stamps else _safety_copies(context)
    if not journals and not safety:
        what = "No data of earlier restores is kept on this host."
        hint = "Run this on the host of the restore, with the same STATE_DIR."
        raise UsageError(what, unchanged="Nothing was deleted.", hint=hint)
    chosen = [find(journals, stamp) for stamp in stamps] or list(reversed(journals))
    return _plan(context, journals, chosen, safety)


def discard(context: BackupContext, plan: DiscardPlan | None = None) -> DiscardPlan:
    """Delete the data in ``plan``, by default everything that restores keep; return what was done.

    The safety copies in ``plan`` are released: the retention policy applies to them from then on. The data of
    restores that ran after the plan was made is not deleted. Raises the errors of :func:`plan_discard`,
    ``RefusedError`` if any of the data is the only copy, and ``StorageError`` if a safety copy cannot be
    released.
    """
    with context.locked("discarding what restores keep", storage=False):
        plan = plan or plan_discard(context)
        journals = _finished_journals(context)
        chosen = [find(journals, journal.stamp) for journal in plan.journals]
        plan = _plan(context, journals, chosen, plan.safety)
        plan.require_feasible()
        for journal in plan.journals:
            swaps.discard(context, journal)
        for manifest in plan.safety:
            release(context, manifest.id)
        return plan


def _finished_journals(context: BackupContext) -> list[Journal]:
    """Return the journals (records) of all restores. Raises ``UsageError`` if a restore is unfinished."""
    if context.journals.unfinished():
        hint = "Run restore_all to complete it, or undo_restore to undo it, then run this again."
        raise UsageError("A restore is unfinished.", unchanged="Nothing was deleted.", hint=hint)
    return context.journals.all()


def _plan(
    context: BackupContext, journals: list[Journal], chosen: list[Journal], safety: tuple[Manifest, ...]
) -> DiscardPlan:
    kept = tuple(
        KeptData(stamp=journal.stamp, since=kept_since(journal), exchange=item)
        for journal in chosen
        for item in find_exchanges(context, journal, UNDO if journal.phase == DONE else REDO)
    )
    blockers = [_blocker(item, journals) for item in kept if item.exchange.only_copy]
    blockers += [text for manifest in safety for text in _safety_blockers(context, manifest)]
    return DiscardPlan(
        created=context.clock(), journals=tuple(chosen), kept=kept, safety=safety, blockers=tuple(blockers)
    )


def _blocker(item: KeptData, journals: list[Journal]) -> str:
    exchange = item.exchange
    kind = "database" if exchange.kind == "database" else "folder"
    where = exchange.kept.where if exchange.kept else ""
    text = f"The {kind} {exchange.place} is missing or empty, so {where} is the only copy."
    try:
        choose(journals, item.stamp)
    except UsageError as error:
        return f"{text} {error.parts[2]}"
    return f"{text} To bring it back: {COMMAND} {item.stamp}"


def _safety_copies(context: BackupContext) -> tuple[Manifest, ...]:
    """Return the safety copies to release: backups that were made before restores in place.

    If the storage cannot be used, a note says so, and nothing is returned.
    """
    try:
        return tuple(held_copies(context))
    except StorageError as error:
        context.progress.note(f"Safety copies of restores in place are not released: {error}")
        return ()


def _safety_blockers(context: BackupContext, manifest: Manifest) -> Iterator[str]:
    """Yield a blocker for each database in the safety copy ``manifest`` that is missing or empty now.

    The safety copy may then be the only copy of this database.
    """
    for part in manifest.databases:
        if part.alias in context.config.databases:
            live = context.engine(part.alias).target()
            if not live.exists or live.empty:
                yield (
                    f"The database {live.name} is missing or empty, so the safety copy {manifest.id} may be"
                    f" the only copy. To bring it back: {how_to_undo(part.alias, manifest.id)}"
                )
