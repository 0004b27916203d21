"""Object Lock: lock new objects, extend locks, and find out until when an object is locked."""

from __future__ import annotations

from datetime import UTC, datetime

from igny8_backup.common.clock import utc_now
from igny8_backup.formats.object_lock import COMPLIANCE, ObjectLock
from igny8_backup.store.objects import LockedObjectError, Version
from igny8_backup.store.s3.requests.bucket import ANY_CALL, Answer, Bucket, Parameters

FOREVER = datetime.max.replace(tzinfo=UTC)


def lock_parameters(lock: ObjectLock) -> Parameters:
    """Return the parameters that lock an object when it is written.

    They include a checksum algorithm, because S3 refuses a lock without a checksum.
    """
    return {
        "ObjectLockMode": lock.mode,
        "ObjectLockRetainUntilDate": lock.until(utc_now()),
        "ChecksumAlgorithm": "CRC32",
    }


def locked_until(bucket: Bucket, key: str) -> datetime | None:
    """Return when the lock of an object ends (UTC); ``None`` if it has no lock or is missing."""
    return _end(bucket.head(key) or {})


def is_locked(bucket: Bucket, key: str) -> bool:
    """Return whether an object is still locked, by the clock of this machine."""
    until = locked_until(bucket, key)
    return until is not None and until > utc_now()


def extend_lock(bucket: Bucket, key: str, mode: str, until: datetime, version: Version | None) -> None:
    """Lock an object, or one version of it, until the time ``until``.

    ``mode`` is ``GOVERNANCE`` or ``COMPLIANCE``. If the object already has a lock in the mode
    ``COMPLIANCE``, this mode is kept, because nobody may remove such a lock.
    """
    if (bucket.head(key) or {}).get("ObjectLockMode") == COMPLIANCE:
        mode = COMPLIANCE
    given: Parameters = {"VersionId": version.id} if version else {}
    retention = {"Mode": mode, "RetainUntilDate": until}
    action = f"extend the lock of {key} in"
    bucket.call(action, "put_object_retention", ANY_CALL, key, Retention=retention, **given)


def locked_error(key: str, place: str) -> LockedObjectError:
    """Return the error for an object that cannot be deleted because it is locked."""
    return LockedObjectError(
        f"{key} in {place} is locked and cannot be deleted yet.",
        unchanged="The object was not deleted.",
        hint="After its lock has ended it can be deleted, for example by prune_backups.",
    )


def _end(head: Answer) -> datetime | None:
    if head.get("ObjectLockLegalHoldStatus") == "ON":
        return FOREVER
    until: datetime | None = head.get("ObjectLockRetainUntilDate")
    return until and until.astimezone(UTC)
