"""Lines of ``spot_check`` about what was compared."""

from __future__ import annotations

from collections.abc import Iterator

from igny8_backup.common.humanize import count_in_words
from igny8_backup.operations.spot_check.result import SpotPart
from igny8_backup.trees.scan.live_check import LiveCheck


def spot_lines(part: SpotPart) -> Iterator[str]:
    """Yield what was looked at in a database or tree, and what was found. Alarms are not included."""
    yield f"{part.kind} {part.name}, compared with backup {part.backup_id}:"
    numbers = part.numbers or {}
    if part.kind != "files":
        yield f"  rows of {count_in_words(numbers.get('tables', 0), 'table')} compared"
        return
    found = LiveCheck(**numbers)
    line = f"  {count_in_words(found.recorded, 'file')} in the backup"
    if found.recorded:
        line += f": {_verb(found.gone, 'no longer exists', 'no longer exist')}"
        line += f", {_verb(found.changed, 'has changed', 'have changed')}"
    yield line
    if found.typed:
        differ = _verb(found.unfit, "does not begin as its name says", "do not begin as their names say")
        yield f"  {count_in_words(found.typed, 'changed file')} opened: {differ}"
    if found.hashed:
        differ = _verb(found.altered, "has other contents", "have other contents")
        yield f"  {count_in_words(found.hashed, 'unchanged file')} read: {differ} than in the backup"
    if found.old:
        older = f"{count_in_words(found.old, 'live file')} {'is' if found.old == 1 else 'are'}"
        yield f"  {older} older than the backup: it lacks {found.missing} of them"


def _verb(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"
