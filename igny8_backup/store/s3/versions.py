"""The versions of objects in a bucket: list them, delete all of them, and show the bucket as it was.

A bucket with versioning keeps every version of an object that was overwritten. A deletion without the id of a
version only puts a marker on top. Source: Amazon S3 User Guide, "Retaining multiple versions of objects with
S3 Versioning".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import BinaryIO

from igny8_backup.errors import StorageError
from igny8_backup.store.base import Store
from igny8_backup.store.objects import Stored, UnreachableError, Version, missing_error
from igny8_backup.store.s3.arrived import put
from igny8_backup.store.s3.download import Download
from igny8_backup.store.s3.locks import is_locked, locked_error
from igny8_backup.store.s3.requests.bucket import Answer, Bucket
from igny8_backup.store.s3.requests.errors import status_of
from igny8_backup.store.s3.requests.listing import VERSIONS
from igny8_backup.streams import Blocks


class Versions:
    """The versions of the objects in a bucket.

    The bucket is asked only once whether it keeps versions.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._kept: bool | None = None
        self._may_delete = True

    def are_kept(self) -> bool:
        """Return whether the bucket keeps versions, or once kept them; true if this user may not ask that.

        Raises ``UnreachableError``.
        """
        if self._kept is None:
            try:
                self._kept = self._bucket.ask("get_bucket_versioning").get("Status") is not None
            except UnreachableError:
                raise
            except StorageError as error:
                # The right to ask is rarely granted. A server that does not know the request has no versions.
                self._kept = status_of(error.__cause__) in (401, 403)
        return self._kept

    def below(self, prefix: str) -> dict[str, list[Version]]:
        """Return the versions of all objects whose keys start with ``prefix``, newest first, by key.

        Raises ``StorageError``, for example if this user may not list versions.
        """
        found: dict[str, list[Version]] = {}
        for page in self._bucket.pages(VERSIONS, Prefix=prefix):
            for entry in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                if not entry["Key"].endswith("/"):
                    found.setdefault(entry["Key"], []).append(_version(entry))
        for versions in found.values():
            # The server lists versions and markers apart, each newest first, with times to the second. The
            # order of a sort is stable, so only a marker and a version of one second may change places.
            versions.sort(key=lambda item: (item.current, item.modified), reverse=True)
        return dict(sorted(found.items()))

    def of(self, key: str) -> list[Version]:
        """Return the versions of one object, newest first.

        The list is empty if the bucket keeps no versions or this user may not list them.
        """
        return self._known_below(key).get(key, [])

    def hidden(self, prefix: str) -> dict[str, list[Version]]:
        """Return, by key, the versions of each deleted object (the newest one is a deletion marker)."""
        found = self._known_below(prefix)
        return {key: items for key, items in found.items() if items[0].size is None and len(items) > 1}

    def delete_object(self, key: str) -> None:
        """Delete an object with all its versions and markers, the oldest first.

        If this user may not delete versions, the object is deleted without naming a version, which puts a
        deletion marker on top of its versions. Raises ``LockedObjectError`` if the object is locked: it then
        gets no marker. Raises ``StorageError``.
        """
        try:
            for version in reversed(self.of(key)):
                self._bucket.delete(key, version.id)
        except UnreachableError:
            raise
        except StorageError as error:
            if is_locked(self._bucket, key):
                raise locked_error(key, self._bucket.place) from error
            self._bucket.delete(key)
        else:
            if not self._kept:
                self._bucket.delete(key)

    def replace(self, key: str, body: BinaryIO) -> None:
        """Store a small object, and delete the version that this process wrote under ``key`` before.

        Without the deletion, a heartbeat, which is written every few minutes, would pile up versions.
        Versions that other processes wrote stay. Raises ``StorageError`` if the object cannot be stored.
        """
        before = self._bucket.written.get(key, "")
        put(self._bucket, key, body, replace=True)
        if before and self._may_delete and before != self._bucket.written[key]:
            try:
                self._bucket.delete(key, before)
            except StorageError:
                self._may_delete = False  # the lifecycle rule of the bucket deletes it

    def _known_below(self, prefix: str) -> dict[str, list[Version]]:
        try:
            return self.below(prefix) if self.are_kept() else {}
        except UnreachableError:
            raise
        except StorageError:
            self._kept = False
            return {}


class PastStore(Store):
    """A store that shows the objects of a bucket as they were at a moment. It refuses to write.

    ``location`` is the prefix that the storage puts before every name.
    """

    parallel_streams = True

    def __init__(self, current: Store, bucket: Bucket, location: str, moment: datetime) -> None:
        super().__init__(current.prefix, current.retry)
        self._current, self._bucket, self._location = current, bucket, location
        self._moment = moment
        self._versions = Versions(bucket)

    def identity(self) -> str:
        return self._current.identity()

    def describe(self) -> str:
        return f"{self._current.describe()}, as of {self._moment.isoformat(timespec='seconds')}"

    def _list(self, folder: str) -> Iterator[Stored]:
        for key, version in self._shown(folder).items():
            yield Stored(key, version.size or 0, version.modified)

    def _list_dirs(self, folder: str) -> list[str]:
        names = (name[len(folder) :] for name in self._shown(folder))
        return sorted({name.partition("/")[0] for name in names if "/" in name})

    def _size(self, name: str) -> int | None:
        version = self._shown(name).get(name)
        return None if version is None else version.size

    def _open(self, name: str) -> Callable[[int], Blocks]:
        opened: list[Download] = []

        def read(offset: int) -> Blocks:
            if not opened:
                version = self._shown(name).get(name)
                if version is None:
                    raise missing_error(name, self.describe())
                opened.append(Download(self._bucket, self._location + name, version.id))
            yield from opened[0](offset)

        return read

    def _put(self, name: str, blocks: Blocks, estimate: int | None, claimed: bool) -> None:
        raise self._read_only()

    def _put_small(self, name: str, data: bytes) -> None:
        raise self._read_only()

    def _delete(self, name: str) -> None:
        raise self._read_only()

    def _read_only(self) -> StorageError:
        return StorageError(
            f"{self.describe()} can only be read.",
            unchanged="Nothing was written.",
            hint="Leave out --as-of for commands that write to the storage.",
        )

    def _shown(self, prefix: str) -> dict[str, Version]:
        """Return, by name, the version of each object that was current at the moment."""
        shown = {}
        for key, versions in self._versions.below(self._location + prefix).items():
            version = next((item for item in versions if item.modified <= self._moment), None)
            if version and version.size is not None:
                shown[key.removeprefix(self._location)] = version
        return shown


def remove_written(bucket: Bucket, key: str) -> None:
    """Delete what this process wrote under ``key``, after a failed upload. No error is raised."""
    with suppress(StorageError):
        if version := bucket.written.get(key):
            with suppress(StorageError):
                bucket.delete(key, version)
                return
        bucket.delete(key)


def _version(entry: Answer) -> Version:
    modified = entry["LastModified"].astimezone(UTC)
    return Version(entry["VersionId"], entry.get("Size"), modified, bool(entry.get("IsLatest")))
