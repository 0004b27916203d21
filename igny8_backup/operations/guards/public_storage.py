"""Warn if everybody can read the storage of backups (W012), and refuse unencrypted backups there (E032)."""

from __future__ import annotations

from igny8_backup.conf import STORAGE_ALIAS, Config, Problem
from igny8_backup.errors import RefusedError, StorageError
from igny8_backup.operations.guards.preconditions import find_storage, make_problem, unencrypted_in_public
from igny8_backup.store import Retry, Store, open_store
from igny8_backup.store.exposure import perhaps_public, public_by_settings

ANSWER_SECONDS = 10.0
"""Seconds for each answer of the storage to a system check."""


def problems(config: Config) -> list[Problem]:
    """Return a problem if everybody can read the storage: W012 for encrypted backups, else E032.

    Looks at the settings, then asks the storage who can read it. If neither gives an answer, W012 is returned
    if the settings at least suggest that the storage is public. If the settings alone prove that unencrypted
    backups would be public, nothing is returned, because ``preconditions.exposure_problems`` reports that.
    """
    storage = find_storage(config)
    if isinstance(storage, Problem):
        return []
    by_settings = public_by_settings(storage)
    reason = by_settings
    if not reason:
        try:
            with open_store(storage, config.prefix, Retry(0, answer_seconds=ANSWER_SECONDS)) as store:
                reason = store.public_access()
        except StorageError:
            pass
    if reason and not config.recipients:
        return [] if by_settings else [unencrypted_in_public(reason)]
    if reason:
        return [
            _warning(
                f"Everybody can read the storage of backups: {reason}. Backups are encrypted, but manifests"
                " and run records (names, times and sizes) are not."
            )
        ]
    perhaps = perhaps_public(storage)
    return [_warning(f"The storage of backups may be public: {perhaps}.")] if perhaps else []


def _warning(message: str) -> Problem:
    hint = f"Make the storage STORAGES[{STORAGE_ALIAS!r}] private. If it is private, silence this check."
    return make_problem("W012", message, hint)


def refuse_unencrypted_in_public(config: Config, store: Store) -> None:
    """Raise :class:`RefusedError` if backups are not encrypted and everybody can read the storage.

    Raises ``UnreachableError`` if the storage does not answer.
    """
    if config.recipients:
        return
    if reason := store.public_access():
        problem = unencrypted_in_public(reason)
        raise RefusedError(problem.message, unchanged="No backup was recorded.", hint=problem.hint)
