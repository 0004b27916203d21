"""Note which owners and other attributes of files a restore could not set."""

from __future__ import annotations

from igny8_backup.operations.progress import Progress
from igny8_backup.trees.model.names import escape
from igny8_backup.trees.model.skips import OnSkip


def note_skips(progress: Progress, tree: str) -> OnSkip:
    """Return a function to call whenever an attribute of a file cannot be restored.

    The function notes the name ``tree``, the path of the file and the reason.
    """

    def skip(path: bytes, reason: str) -> None:
        progress.note(f"{tree}: {escape(path)}: {reason}")

    return skip


def note_owners(progress: Progress, tree: str, number: int) -> None:
    """Note that the owner or group of ``number`` files and folders of ``tree`` could not be restored."""
    if number:
        progress.note(
            f"{tree}: the owner or group of {number} files and folders was not restored, because only root"
            " can do that. They belong to the user and a group of this process."
        )
