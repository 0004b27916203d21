"""Find storages that the setting OBJECT_LOCK names although they cannot lock objects (E045)."""

from __future__ import annotations

from django.core.files.storage import Storage

from igny8_backup.conf import Config, Problem
from igny8_backup.store.kinds import S3, is_kind

PAGE = 'See "Protect backups from ransomware" in the documentation.'


def lock_problems(config: Config, storage: Storage | Problem, alias: str) -> list[Problem]:
    """Return E045 if ``OBJECT_LOCK`` has an entry for the storage ``alias``, and ``storage`` is not S3.

    ``storage`` is ``STORAGES[alias]``, or the problem that this storage cannot be used. For such a
    problem, nothing is returned.
    """
    if alias not in config.object_lock or isinstance(storage, Problem) or is_kind(storage, S3):
        return []
    message = f"OBJECT_LOCK is set for STORAGES[{alias!r}], which is not S3 and cannot lock objects."
    hint = f"Use a bucket with Object Lock, or remove OBJECT_LOCK. {PAGE}"
    return [Problem(id="igny8_backup.E045", message=message, hint=hint)]
