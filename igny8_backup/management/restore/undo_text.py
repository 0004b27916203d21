"""The plans and the results of ``undo_restore``, as lines for people and as JSON for scripts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from igny8_backup.common.humanize import age_in_words, count_in_words, size_in_words
from igny8_backup.journal import SWAPPING, UNDOING, UNDONE, Journal
from igny8_backup.management.base import BackupCommand
from igny8_backup.management.restore.result_text import START, advice_lines, previous_lines
from igny8_backup.operations.undo.copies import DATABASE, DataCopy, Exchange, kept_since
from igny8_backup.operations.undo.discard import DiscardPlan
from igny8_backup.operations.undo.history import CLEAN, REDO
from igny8_backup.operations.undo.plan import UndoPlan
from igny8_backup.operations.undo.run import UndoResult


def undo_plan_lines(plan: UndoPlan) -> Iterator[str]:
    """Yield the lines that show the plan of an undo or redo."""
    journal = plan.journal
    which = f"the restore {journal.stamp} from {', '.join(journal.backup_ids)}"
    if plan.step.action == CLEAN:
        yield f"Plan: remove what {which} left. It had not changed any live data."
        return
    if plan.step.action == REDO:
        yield f"Plan: REDO {which}, which was undone"
    else:
        interrupted = ", which was interrupted" if journal.phase in (SWAPPING, UNDOING) else ""
        yield f"Plan: undo {which}{interrupted}"
    for item in plan.exchanges:
        live = _contents(item, item.live) if item.live else "nothing"
        if item.kept is None:
            comes = f"NOTHING comes back: there will be no database {item.place}"
        else:
            age = age_in_words(kept_since(journal), plan.created)
            comes = f"comes back: {_contents(item, item.kept)}, set aside {age} ago"
            comes += ", so NOTHING will be live" if item.vanishes else ""
        yield f"  {_heading(item)}: live now: {live}; {comes}"


def undo_plan_as_json(plan: UndoPlan) -> dict[str, Any]:
    """Return the plan of an undo or redo for scripts."""
    exchanges = [{**vars(item), "vanishes": item.vanishes} for item in plan.exchanges]
    return {"action": plan.step.action, "stamp": plan.journal.stamp, "exchanges": exchanges}


def discard_lines(plan: DiscardPlan) -> Iterator[str]:
    """Yield a line for each database and folder that a discard deletes, with its size and age."""
    if plan.journals:
        yield "Plan: delete for good"
    for item in plan.kept:
        found = item.exchange
        if found.kept is None:
            yield f"  {item.stamp}: {_heading(found)}: nothing is kept"
            continue
        age = age_in_words(item.since, plan.created)
        live = _contents(found, found.live) if found.live else "nothing"
        kept = f"{found.kept.where}, {_contents(found, found.kept)}, kept for {age}"
        yield f"  {item.stamp}: {_heading(found)}: {kept}; live now: {live}"
    if plan.safety:
        yield "Plan: release the safety copies of restores in place, which prune_backups may then remove"
    for manifest in plan.safety:
        names = ", ".join(part.name for part in manifest.parts)
        size = size_in_words(sum(part.bytes for part in manifest.parts))
        age = age_in_words(manifest.started, plan.created)
        yield f"  backup {manifest.id}: {names}, {size}, kept for {age}"


def discard_plan_as_json(plan: DiscardPlan) -> dict[str, Any]:
    """Return the plan of a discard for scripts."""
    kept = [
        {
            "stamp": item.stamp,
            "since": item.since,
            **vars(item.exchange),
            "only_copy": item.exchange.only_copy,
        }
        for item in plan.kept
    ]
    safety = [manifest.id for manifest in plan.safety]
    return {"kept": kept, "safety": safety, "obstacles": plan.blockers}


def show_undo_result(shown: BackupCommand, result: UndoResult) -> int:
    """Show what is live now, where the data that was live before is kept, and what to do next.

    Returns the exit status.
    """
    journal = result.journal
    if not result.journals:
        shown.say("The interrupted restore had not changed any live data.", START)
        return 0
    if journal.phase == UNDONE:
        shown.say("The data from before the restore is live again.")
        shown.say(*(f"  {line}" for line in _restored_lines(journal)))
    else:
        shown.say(f"The data restored from {', '.join(journal.backup_ids)} is live again.")
        shown.say(*(f"  {line}" for line in previous_lines(journal)))
    if result.stopped:
        shown.say(f"Stopped these Celery workers; start them again: {', '.join(result.stopped)}.")
    shown.warn(*(f"WARNING: {warning}" for warning in result.warnings))
    shown.say(*advice_lines(result.journals, journal, discardable=result.discardable))
    return 3 if result.warnings else 0


def _restored_lines(journal: Journal) -> Iterator[str]:
    for swap in journal.databases:
        gone = "" if swap.existed else f"there is no database {swap.name} now; "
        yield f"database {swap.name}: {gone}the restored database is kept as {swap.staging}"
    for tree in journal.trees:
        yield f"files {tree.name}: the restored files are kept in {tree.previous}"


def _heading(item: Exchange) -> str:
    return f"database {item.place}" if item.kind == DATABASE else f"files {item.name} in {item.place}"


def _contents(item: Exchange, copy: DataCopy) -> str:
    if copy.items is None:
        return f"a database that cannot be read, {size_in_words(copy.bytes)}"
    what = count_in_words(copy.items, "table" if item.kind == DATABASE else "file")
    return f"{'more than ' * copy.more}{what}, {size_in_words(copy.bytes)}"
