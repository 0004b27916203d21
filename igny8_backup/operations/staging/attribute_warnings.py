"""What a restored tree could not be given as it was, told the same way wherever it is written."""

from __future__ import annotations

from igny8_backup.operations.progress import Progress
from igny8_backup.trees.model.names import escape
from igny8_backup.trees.model.skips import OnSkip


def note_skips(progress: Progress, tree: str) -> OnSkip:
    """A callback that notes what of ``tree`` did not come back as it was: the path, and the reason."""

    def skip(path: bytes, reason: str) -> None:
        progress.note(f"{tree}: {escape(path)}: {reason}")

    return skip


def note_owners(progress: Progress, tree: str, number: int) -> None:
    """Notes that so many files and folders of ``tree`` could not be given to their owners."""
    if number:
        progress.note(
            f"{tree}: {number} files and folders now belong to this user: only root can give them back to"
            " their owners."
        )
