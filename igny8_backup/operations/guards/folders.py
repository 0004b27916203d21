"""Warn of folders that backups need, and that the user of this process cannot create or write (W008)."""

from __future__ import annotations

import os
from pathlib import Path

from django.core.files.storage import FileSystemStorage

from igny8_backup.common.filesystem import create_command
from igny8_backup.conf import STORAGE_ALIAS, Config, Problem
from igny8_backup.operations.guards.preconditions import find_storage, make_problem


def problems(config: Config) -> list[Problem]:
    """Return W008 for each folder that cannot be used: those for state, scratch and backups."""
    folders = {"STATE_DIR": config.state_dir, "SCRATCH_DIR": config.scratch_dir}
    storage = find_storage(config)
    if isinstance(storage, FileSystemStorage):
        folders[f"The folder of STORAGES[{STORAGE_ALIAS!r}]"] = Path(storage.location)
    return [
        make_problem(
            "W008",
            f"{name} ({folder}) cannot be used: {obstacle}. The next backup would fail.",
            f"Create it for the user of the application: {create_command(folder)}. If backups run as another"
            " user than this check, silence it.",
        )
        for name, folder in folders.items()
        if (obstacle := _obstacle(folder))
    ]


def _obstacle(folder: Path) -> str:
    """Return why this user can neither write ``folder`` nor create it; empty if nothing is in the way."""
    existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not existing.is_dir():
        return f"{existing} is not a folder"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"the user of this process may not write to {existing}"
    return ""
