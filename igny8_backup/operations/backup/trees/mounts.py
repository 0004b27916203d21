"""Warn if the mounts in a tree are not those of its last backup.

A mount hides the files of the folder on which it is mounted. When the mount is gone, the files of the folder
appear instead. A backup is complete in both cases, but it contains different files in each. So every backup
of a tree records the mounts in ``STATE_DIR`` (``mounts/HOST/TREE.json``), and the next backup names the
folders whose mounts have changed.
"""

from __future__ import annotations

import json
from pathlib import Path

from igny8_backup.common.filesystem import replace_file
from igny8_backup.common.humanize import count_in_words
from igny8_backup.operations.context import BackupContext
from igny8_backup.trees.fs.linux import mounts_of
from igny8_backup.trees.model.names import escape

NAMED = 10
"""The largest number of folders that a backup names."""


def note_changed_mounts(context: BackupContext, tree: str, root: Path) -> dict[str, str]:
    """Warn of each folder of a tree on which something else is mounted than in the last backup.

    Returns the present mounts, for :func:`remember_mounts`: each folder relative to ``root`` (escaped; empty
    for ``root`` itself) with a description of what is mounted there. Nothing is noted if the last backup of
    this host has not recorded its mounts.
    """
    now = {escape(folder): escape(text) for folder, text in mounts_of(root).items()}
    before = _remembered(context, tree)
    if before is None or not now:
        return now
    changed = [folder for folder in sorted({*before, *now}) if before.get(folder) != now.get(folder)]
    for folder in changed[:NAMED]:
        context.progress.note(
            f"WARNING: {tree}: {f'the folder {folder}' if folder else 'the root'} is on another file system"
            f" than in the last backup: {now.get(folder, 'nothing is mounted there')}; before:"
            f" {before.get(folder, 'nothing was mounted there')}. If this is not intended, restore the mounts"
            " and back up again."
        )
    if more := changed[NAMED:]:
        folders = count_in_words(len(more), "further folder")
        context.progress.note(
            f"WARNING: {tree}: {folders} are on other file systems than in the last backup."
        )
    return now


def remember_mounts(context: BackupContext, tree: str, mounts: dict[str, str]) -> None:
    """Record the mounts of a tree in ``STATE_DIR``, for the next backup. Raises ``OSError``.

    Call this when the backup of the tree is complete.
    """
    text = json.dumps(mounts, sort_keys=True, indent=2)
    replace_file(_file(context, tree), text.encode())


def _remembered(context: BackupContext, tree: str) -> dict[str, str] | None:
    try:
        found = json.loads(_file(context, tree).read_bytes())
        return {str(folder): str(text) for folder, text in found.items()}
    except (OSError, ValueError, AttributeError):
        return None


def _file(context: BackupContext, tree: str) -> Path:
    return context.config.state_dir / "mounts" / context.config.host / f"{tree}.json"
