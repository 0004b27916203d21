"""Lines of ``show_backup`` about the objects that backups share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from igny8_backup.common.humanize import count_in_words, size_in_words
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.operations.maintain.sharing import Sharing


def sharing_lines(found: Iterable[Sharing]) -> Iterator[str]:
    """Yield a line for each database and tree: what a restore reads, and what the loss of an object costs."""
    for item in found:
        what = f"database {item.name}" if item.kind == DatabasePart.kind else f"files {item.name}"
        line = (
            f"  restore of {what}: {count_in_words(item.objects, 'object')} and at least as many requests,"
            f" {size_in_words(item.bytes)}; losing one would damage {count_in_words(item.backups, 'backup')}"
        )
        if item.kind != DatabasePart.kind and item.backups > 1:
            line += ", and prune_backups keeps no separate copy of files"
        elif item.independent:
            line += (
                f"; prune_backups keeps {item.independent} as a separate copy,"
                " which shares no object with the newest"
            )
        yield line
