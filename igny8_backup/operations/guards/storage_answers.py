"""Warn if the storage of backups, or of copies, does not answer or refuses the credentials (W013)."""

from __future__ import annotations

from igny8_backup.conf import STORAGE_ALIAS, Config, Problem
from igny8_backup.errors import StorageError
from igny8_backup.formats import keys
from igny8_backup.operations.guards.preconditions import find_storage, make_problem
from igny8_backup.operations.guards.public_storage import ANSWER_SECONDS
from igny8_backup.store import Retry, open_store
from igny8_backup.store.kinds import AZURE, GOOGLE, S3, SFTP, is_kind

_ANSWERS_SOON = (S3, AZURE, GOOGLE, SFTP)
"""Storages that fail within ``ANSWER_SECONDS``. Others could keep the check waiting; a folder has W008."""


def problems(config: Config) -> list[Problem]:
    """Return W013 for each storage that cannot be listed."""
    found = []
    if error := _error(config, STORAGE_ALIAS):
        found.append(make_problem("W013", f"{error.what} The next backup would fail.", error.parts[2]))
    for copy in config.copies.values():
        if error := _error(config, copy.storage):
            message = f"Copy {copy.name}: {error.what} Backups would not be copied."
            found.append(make_problem("W013", message, error.parts[2]))
    return found


def _error(config: Config, alias: str) -> StorageError | None:
    storage = find_storage(config, alias)
    if isinstance(storage, Problem) or not any(is_kind(storage, kind) for kind in _ANSWERS_SOON):
        return None
    try:
        with open_store(storage, config.prefix, Retry(0, answer_seconds=ANSWER_SECONDS)) as store:
            next(iter(store.list(keys.LOCKS)), None)
    except StorageError as error:
        return error
    return None
