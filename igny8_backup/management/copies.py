"""The results of copying backups as text."""

from __future__ import annotations

from collections.abc import Iterator

from igny8_backup.common.humanize import count_in_words, size_in_words
from igny8_backup.operations.copies.result import CopyResult


def copy_lines(copy: CopyResult) -> Iterator[str]:
    """Yield the lines about what was copied, and about the backups that must not be copied."""
    if copy.where:
        backups, objects = count_in_words(len(copy.copied), "backup"), count_in_words(copy.objects, "object")
        done = f"{backups} copied ({objects}, {size_in_words(copy.bytes)})" if copy.copied else "0 copied"
        yield f"Copy {copy.name} in {copy.where}: {done}, {len(copy.present)} there before."
    yield from (f"  copied: {backup_id}" for backup_id in copy.copied)
    yield from (f"  left out: {backup_id}: {reason}" for backup_id, reason in copy.left_out.items())


def copy_problems(copy: CopyResult) -> Iterator[str]:
    """Yield an indented line for each failure."""
    yield from (f"  {line}" for line in copy.problems())
