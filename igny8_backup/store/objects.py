"""Objects in storage, their keys, and the errors of reading and writing them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from igny8_backup.errors import IntegrityError, StorageError

LONGEST_KEY = 1024
"""Largest length of a key in bytes, prefix included: the limit of S3."""

LONGEST_PART = 255
"""Largest length in bytes of a name between two slashes of a key: the limit of most filesystems."""

SETTING = 'STORAGES["dbbackup"]'
"""The Django setting that configures the storage of backups, as hints name it."""

_MD5 = re.compile(r'"?([0-9a-f]{32})"?(?: |$)')


class MissingObjectError(StorageError):
    """The storage has no object with the requested key."""


class ObjectExistsError(StorageError):
    """The storage already has an object with the key of a new object.

    ``repeated``: the request that failed was a repetition. So perhaps an earlier attempt of this process
    has created the object, and its answer was lost.
    """

    repeated = False


class UnreachableError(StorageError):
    """The storage did not answer, or answered with a failure of its own. A later attempt may succeed.

    ``final`` is set once :class:`~igny8_backup.store.retry.Retry` has given up.
    """

    final = False


class LockedObjectError(StorageError):
    """The storage does not delete the object before a date, because it is locked (S3 Object Lock)."""


class Stored(NamedTuple):
    """An object in storage, with its size in bytes and when it was written (UTC; ``None`` if unknown).

    ``tag`` changes with every write of the object. It is empty if the storage has no tags. ``mtime_ns`` is
    the time at which the file in a folder was written, in nanoseconds, and 0 in other storages.
    """

    key: str
    size: int
    modified: datetime | None
    tag: str = ""
    mtime_ns: int = 0

    def renamed(self, key: str) -> Stored:
        """Return a copy with another key."""
        return Stored(key, self.size, self.modified, self.tag, self.mtime_ns)

    @property
    def written(self) -> str:
        """A text that changes if the object is written anew; empty if the storage does not tell."""
        # Inodes are left out: on sshfs and some network shares they change while nobody writes.
        return str(self.mtime_ns) if self.mtime_ns else self.tag

    @property
    def md5(self) -> str:
        """The MD5 of the content in hexadecimal digits, if the tag has it; empty if it cannot be one.

        S3 uses the MD5 as the ETag of an object that was stored in one request, unless a key of KMS or of the
        customer encrypts it. Then these digits are something else, so compare them before you rely on them.
        """
        match = _MD5.match(self.tag)
        return match[1] if match else ""


@dataclass(frozen=True)
class Version:
    """A version of an object in a storage that keeps old versions.

    ``size`` is in bytes, and ``None`` for the marker that a deletion puts on top of the older versions.
    ``modified`` is when the version or the marker was written (UTC). ``current``: it is the newest.
    """

    id: str
    size: int | None
    modified: datetime
    current: bool


@dataclass(frozen=True)
class Protection:
    """How a bucket protects its objects. ``None`` means that this user may not ask.

    ``versions``: the bucket keeps the versions of overwritten and deleted objects. ``locking``: objects can
    be locked. ``default_lock`` describes the lock that every new object gets, and is empty if there is none.
    ``piling_up``: the prefixes whose temporary objects, or their old versions, no lifecycle rule deletes.
    """

    versions: bool | None
    locking: bool | None
    default_lock: str
    piling_up: tuple[str, ...]


@dataclass(frozen=True)
class UnfinishedUpload:
    """A multipart upload that was neither finished nor aborted. Its parts cost money but are not listed."""

    key: str
    upload_id: str
    initiated: datetime


def is_key(key: str) -> bool:
    """Return whether every storage can hold ``key`` unchanged. A listing may contain other keys."""
    parts = key.split("/")
    return (
        all(part not in ("", ".", "..") for part in parts)
        and key.isprintable()
        and "\\" not in key
        and all(len(part.encode()) <= LONGEST_PART for part in parts)
        and len(key.encode()) <= LONGEST_KEY
    )


def checked_key(key: str) -> str:
    """Return ``key`` if every storage can hold it unchanged; otherwise raise ``StorageError``."""
    if not is_key(key):
        raise StorageError(
            f"{key!r} cannot be a key in storage.",
            unchanged="Nothing was read or written.",
            hint="Use names joined by single slashes, without '.', '..', backslashes or control characters.",
        )
    return key


def missing_error(name: str, place: str) -> MissingObjectError:
    """Return the error for the object ``name``, which is missing in ``place``.

    ``place`` is the storage, as messages describe it.
    """
    return MissingObjectError(
        f"{name} is missing in {place}.", hint="List the existing backups: list_backups."
    )


def exists_error(name: str, place: str) -> ObjectExistsError:
    """Return the error for an object that cannot be written because ``place`` has an object of this name."""
    return ObjectExistsError(
        f"{name} already exists in {place}.",
        unchanged="It was not overwritten.",
        hint="Start the backup again: each run uses new names.",
    )


def incomplete_error(name: str, place: str, *, sent: int, stored: int | None = None) -> IntegrityError:
    """Return the error for an object that was removed because ``place`` has not stored the bytes sent to it.

    ``sent`` and ``stored`` are numbers of bytes. ``stored`` is ``None`` if the number is right, but the bytes
    differ.
    """
    found = "other bytes" if stored is None else f"{stored} bytes"
    return IntegrityError(
        f"{sent} bytes were sent to {name}, but {place} has stored {found}. The object was removed.",
        hint="Run the backup again. If it fails again, use another storage.",
    )
