"""Warn if the storage of backups, or of copies, does not answer or refuses the credentials (W013)."""

from __future__ import annotations

from django.core.files.storage import FileSystemStorage

from igny8_backup.conf import STORAGE_ALIAS, Config, Problem
from igny8_backup.errors import StorageError
from igny8_backup.formats import keys
from igny8_backup.operations.guards.preconditions import find_storage, make_problem
from igny8_backup.operations.guards.public_storage import ANSWER_SECONDS
from igny8_backup.store import Retry, open_store


def problems(config: Config) -> list[Problem]:
    """Return W013 for each storage that cannot list the locks of runs, which every backup does first."""
    storages = {STORAGE_ALIAS: ""} | {copy.storage: f"Copy {copy.name}: " for copy in config.copies.values()}
    return [
        make_problem("W013", f"{of}{error.what} The next backup would fail.", error.parts[2])
        for alias, of in storages.items()
        if (error := _error(config, alias))
    ]


def _error(config: Config, alias: str) -> StorageError | None:
    storage = find_storage(config, alias)
    if isinstance(storage, Problem | FileSystemStorage):
        return None  # other checks report problems, and folders that cannot be used
    try:
        with open_store(storage, config.prefix, Retry(0, answer_seconds=ANSWER_SECONDS)) as store:
            next(iter(store.list(keys.LOCKS)), None)
    except StorageError as error:
        return error
    return None
