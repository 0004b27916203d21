"""The results of ``restore_all`` and ``undo_restore``, as lines for people and as JSON for scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from igny8_backup.common.humanize import count_in_words, size_in_words
from igny8_backup.journal import UNDONE, Journal
from igny8_backup.management.base import BackupCommand
from igny8_backup.operations.restore.run import RestoreResult
from igny8_backup.operations.undo.history import DISCARD, REDO, Step, advice, command
from igny8_backup.operations.undo.run import UndoResult

START = "Next: start the application, its workers and beat again."


def result_as_json(result: RestoreResult) -> dict[str, Any]:
    """Return the result for scripts, without values that are encrypted in storage."""
    return {**vars(result), "journal": journal_as_json(result.journal)}


def undo_result_as_json(result: UndoResult) -> dict[str, Any]:
    """Return the result of an undo for scripts, without values that are encrypted in storage."""
    shown = {name: getattr(result, name) for name in ("warnings", "stopped", "discardable")}
    return {**shown, "journal": journal_as_json(result.journal)}


def journal_as_json(journal: Journal) -> dict[str, Any]:
    """Return the journal for scripts, with the field names of its first schema.

    Details of databases are left out: they are encrypted in storage because settings may hold secrets.
    """
    databases, trees = [], []
    for database in journal.databases:
        shown = {name: getattr(database, name) for name in ("alias", "name", "existed", "place")}
        databases.append({**shown, "side": database.staging, "before": database.previous})
    for tree in journal.trees:
        plan = tree.plan.to_plain() if tree.plan else None
        shown = {"name": tree.name, "root": tree.root, "kept": tree.previous, "plan": plan}
        shown |= {"excluded_files": tree.excluded_files, "excluded_bytes": tree.excluded_bytes}
        trees.append({**shown, "whole": tree.swap_root})
    return {**vars(journal), "databases": databases, "trees": trees}


def show_result(
    shown: BackupCommand, result: RestoreResult, journals: Sequence[Journal], *, discardable: bool
) -> int:
    """Show what was restored, where the previous data is and what to do next; return the exit status.

    ``journals`` are the journals of all restores. ``discardable`` says that the user can safely delete the
    previous data, because no part of it is the only copy.
    """
    journal = result.journal
    if result.resumed:
        again = "Nothing else was done: run the command again for another restore."
        shown.say(f"An interrupted restore or undo was completed. {again}")
    if journal.phase == UNDONE:
        shown.say("The data from before the restore is live again.")
    else:
        shown.say(f"Restored from {', '.join(journal.backup_ids)}.")
        shown.say(*(f"  {line}" for line in previous_lines(journal)))
    if result.stopped:
        shown.say(f"Stopped these Celery workers; start them again: {', '.join(result.stopped)}.")
    if result.purged is not None:
        shown.say(f"Discarded {count_in_words(result.purged, 'task')} from the queues.")
    shown.warn(*(f"WARNING: {warning}" for warning in result.warnings))
    shown.say(*advice_lines(journals, journal, discardable=discardable))
    return 3 if result.warnings else 0


def excluded_lines(journal: Journal) -> Iterator[str]:
    """Yield a warning for each tree whose previous files include some that backups exclude.

    No backup contains these files, and ``undo_restore --discard`` deletes them for good.
    """
    for tree in journal.trees:
        if tree.excluded_files and journal.phase != UNDONE:
            files = count_in_words(tree.excluded_files, "file")
            yield (
                f"WARNING: {tree.previous} contains {files} ({size_in_words(tree.excluded_bytes)}) of"
                f" {tree.name!r} that backups exclude. No backup contains them."
            )


def advice_lines(journals: Sequence[Journal], journal: Journal, *, discardable: bool) -> Iterator[str]:
    """Yield what to do after a restore or undo, with a line for each command that could be useful next.

    ``journal`` is the journal of this restore, ``journals`` are those of all restores. ``discardable`` says
    that the user can safely delete the kept data, because no part of it is the only copy.
    """
    if discardable:
        yield START
    else:
        yield "Next: not everything is live now. Restore a backup, or run one of these:"
    for step in advice(journals, journal, discardable=discardable):
        yield f"{_purpose(step, journal)}: {command(journals, step)}"


def _purpose(step: Step, journal: Journal) -> str:
    if step.action == DISCARD:
        done = journal.phase != UNDONE
        return "To delete the kept data when all is well" if done else "To free the space"
    if step.action == REDO:
        return "To redo the restore"
    return "To undo the restore" if step.journal == journal else "To undo the restore before it too"


def previous_lines(journal: Journal) -> Iterator[str]:
    """Yield a line for each database and tree that says where its previous data is kept."""
    for swap in journal.databases:
        kept = f"the previous database is kept as {swap.previous}"
        yield f"database {swap.name}: {kept if swap.existed else 'created'}"
    for tree in journal.trees:
        yield f"files {tree.name}: the previous files are kept in {tree.previous}"
    yield from excluded_lines(journal)
