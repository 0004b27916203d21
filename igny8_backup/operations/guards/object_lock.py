"""Check what protects the objects in S3: versions, Object Lock (OBJECT_LOCK) and lifecycle rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from igny8_backup.conf import STORAGE_ALIAS, Config, Problem
from igny8_backup.errors import StorageError
from igny8_backup.formats.object_lock import COMPLIANCE, MARGIN, ObjectLock
from igny8_backup.operations.guards.lock_support import PAGE, lock_problems
from igny8_backup.operations.guards.preconditions import find_storage, make_problem
from igny8_backup.operations.guards.public_storage import ANSWER_SECONDS
from igny8_backup.store import Retry, open_store
from igny8_backup.store.objects import Protection


def problems(config: Config) -> list[Problem]:
    """Return the problems E045 and W030 to W033, for the main storage and for the storages in ``COPIES``.

    Asks each S3 server how it protects objects. If the server does not answer, only problems that the
    settings show are returned for its storage.
    """
    found = _of_storage(config, STORAGE_ALIAS)
    for copy in config.copies.values():
        found += [
            replace(problem, message=f"Copy {copy.name}: {problem.message}")
            for problem in _of_storage(config, copy.storage)
        ]
    return found


def _of_storage(config: Config, alias: str) -> list[Problem]:
    storage = find_storage(config, alias)
    if isinstance(storage, Problem):
        return []
    if found := lock_problems(config, storage, alias):
        return found
    try:
        with open_store(storage, config.prefix, Retry(0, answer_seconds=ANSWER_SECONDS)) as store:
            protection = store.protection()
    except StorageError:
        return []
    return list(_of_bucket(config.object_lock.get(alias), protection)) if protection else []


def _of_bucket(lock: ObjectLock | None, found: Protection) -> Iterator[Problem]:
    if lock and found.locking is False:
        message = "OBJECT_LOCK is set, and the bucket has no Object Lock: every upload would fail."
        yield make_problem(
            "E045", message, f"Enable Object Lock for the bucket, or remove OBJECT_LOCK. {PAGE}"
        )
    if found.versions is False:
        message = (
            "The bucket keeps no versions: whoever has the credentials of this host can overwrite or delete"
            " every backup for good."
        )
        yield make_problem("W030", message, f"Enable versioning for the bucket. {PAGE}")
    if found.default_lock:
        message = (
            f"The bucket locks every new object for {found.default_lock}. That includes run records,"
            " heartbeats and the lock of runs, which are written again and again, so their old versions pile"
            " up and prune_backups cannot delete them before that time."
        )
        hint = f"Remove the default retention of the bucket and set OBJECT_LOCK instead. {PAGE}"
        yield make_problem("W031", message, hint)
    if lock and lock.mode == COMPLIANCE:
        message = (
            f"New backups and packs are locked for {lock.days + MARGIN.days} days in the mode COMPLIANCE:"
            " until then nobody can delete them or stop paying for them, not even the owner of the account."
        )
        yield make_problem("W032", message, f"If that is intended, silence this check. {PAGE}")
    if lock and found.piling_up:
        folders = " and ".join(found.piling_up)
        message = (
            f"No lifecycle rule of the bucket clears {folders}. Credentials that may not delete leave one"
            " version there for every heartbeat and every lock of a run."
        )
        hint = f"Add the lifecycle rules of the documentation. {PAGE}"
        yield make_problem("W033", message, hint)
