"""Notes about owners and other attributes of files that could not be restored."""

from __future__ import annotations

from igny8_backup.operations.progress import Progress
from igny8_backup.trees.model.names import escape
from igny8_backup.trees.model.skips import OnSkip


def note_skips(progress: Progress, tree: str) -> OnSkip:
    """Return a callback that notes the path and the reason for each attribute that was not restored."""

    def skip(path: bytes, reason: str) -> None:
        progress.note(f"{tree}: {escape(path)}: {reason}")

    return skip


def note_owners(progress: Progress, tree: str, number: int) -> None:
    """Note that ``number`` files and folders of ``tree`` could not be given to their owners."""
    if number:
        progress.note(
            f"{tree}: {number} files and folders now belong to this user. Only root can restore owners."
        )
