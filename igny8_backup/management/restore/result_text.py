"""The results of ``restore_all`` and ``undo_restore``, as lines for people and as JSON for scripts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from igny8_backup.humanize import count_in_words
from igny8_backup.journal import UNDONE, Journal
from igny8_backup.management.base import BackupCommand
from igny8_backup.operations.restore.run import RestoreResult
from igny8_backup.operations.restore.undo import UndoResult


def result_as_json(result: RestoreResult | UndoResult) -> dict[str, Any]:
    """Return the result for scripts, without values that are encrypted in storage."""
    return {**vars(result), "journal": journal_as_json(result.journal)}


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
        trees.append({**shown, "whole": tree.swap_root})
    return {**vars(journal), "databases": databases, "trees": trees}


def show_result(command: BackupCommand, result: RestoreResult) -> int:
    """Show what was restored, where the previous data is and what to do next; return the exit status."""
    journal = result.journal
    if result.resumed:
        again = "Nothing else was done: run the command again for another restore."
        command.say(f"The interrupted work is complete. {again}")
    if journal.phase == UNDONE:
        command.say("The data from before the restore is live again.")
    else:
        command.say(f"Restored from {', '.join(journal.backup_ids)}.")
        command.say(*(f"  {line}" for line in previous_lines(journal)))
    if result.stopped:
        command.say(f"Stopped these Celery workers; start them again: {', '.join(result.stopped)}.")
    if result.purged is not None:
        command.say(f"Discarded {count_in_words(result.purged, 'task')} from the queues.")
    command.warn(*(f"WARNING: {warning}" for warning in result.warnings))
    command.say("Next: start the application, its workers and beat again.")
    if journal.phase != UNDONE:
        command.say("To undo the restore: python manage.py undo_restore")
    command.say("To delete the kept data when all is well: python manage.py undo_restore --discard")
    return 3 if result.warnings else 0


def previous_lines(journal: Journal) -> Iterator[str]:
    """Yield where the previous data of each database and tree is kept."""
    for swap in journal.databases:
        kept = f"the previous database is kept as {swap.previous}"
        yield f"database {swap.name}: {kept if swap.existed else 'created'}"
    for tree in journal.trees:
        yield f"files {tree.name}: the previous files are kept in {tree.previous}"
