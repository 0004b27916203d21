"""Warn of folders that backups need, and that the user of this process cannot create or write (W008)."""

from __future__ import annotations

import os
from pathlib import Path

from django.core.files.storage import FileSystemStorage

from igny8_backup.common.filesystem import ownership_hint
from igny8_backup.conf import STORAGE_ALIAS, Config, Problem
from igny8_backup.operations.guards.preconditions import find_storage, make_problem


def problems(config: Config) -> list[Problem]:
    """Return W008 for each folder that cannot be used: those for state, scratch, backups and copies."""
    folders = {"STATE_DIR": config.state_dir, "SCRATCH_DIR": config.scratch_dir}
    for alias in (STORAGE_ALIAS, *(copy.storage for copy in config.copies.values())):
        storage = find_storage(config, alias)
        if isinstance(storage, FileSystemStorage):
            folders[f"The folder of STORAGES[{alias!r}]"] = Path(storage.location)
    return [
        make_problem(
            "W008",
            f"{name} ({folder}) cannot be used: {why}.",
            f"{ownership_hint(folder)} If backups run as another user than this check, silence it.",
        )
        for name, folder in folders.items()
        if (why := _why_unusable(folder))
    ]


def _why_unusable(folder: Path) -> str:
    """Return why this user can neither write ``folder`` nor create it; empty if nothing is in the way."""
    existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not os.path.isdir(existing):
        return f"{existing} is not a folder, or this user may not enter it"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"the user of this process may not write to {existing}"
    return ""
