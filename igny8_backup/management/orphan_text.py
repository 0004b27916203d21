"""Format orphaned objects as text, for ``list_backups`` and ``prune_backups``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from igny8_backup.common.humanize import age_in_words, count_in_words, size_in_words
from igny8_backup.management.tables import table
from igny8_backup.operations.maintain.orphans import OrphanObject, OrphanReport


def orphan_lines(report: OrphanReport, now: datetime) -> Iterator[str]:
    """Yield a table of the objects in ``report``, and a line for each unreadable or missing manifest."""
    states = {"orphan": report.orphans, "in use": report.in_use, "doubtful": report.doubtful}
    rows = [_orphan_row(item, state, now) for state, items in states.items() for item in items]
    if rows:
        yield from table(("STORED", "AGE", "STATE", "KEY"), rows).splitlines()
    for entry in report.unreadable:
        yield f"UNREADABLE: {entry.id}: {entry.problem}"
    for backup_id in report.lost:
        yield f"LOST: {backup_id}: its manifest is gone, and no record says that the backup was removed."


def orphans_text(orphans: Sequence[OrphanObject]) -> str:
    """Return the number and the size of orphaned objects, as in "2 orphaned objects (1.5 MB)"."""
    size = size_in_words(sum(item.size or 0 for item in orphans))
    return f"{count_in_words(len(orphans), 'orphaned object')} ({size})"


def _orphan_row(item: OrphanObject, state: str, now: datetime) -> tuple[str, ...]:
    size = "" if item.size is None else size_in_words(item.size)
    age = age_in_words(item.modified, now) if item.modified else ""
    return size, age, state, f"{item.key} (unfinished upload)" if item.upload_id else item.key
