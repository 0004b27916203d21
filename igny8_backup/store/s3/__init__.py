"""The store for S3 and compatible servers.

``S3Store`` uses the boto3 client and all settings of django-storages' ``S3Storage``: location, encryption,
ACL, credentials, endpoint. It does not read through that storage, because ``S3File.read()`` loads a complete
object into memory or a temporary file. Only this package imports boto3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from io import BytesIO
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlsplit

from igny8_backup.errors import StorageError
from igny8_backup.formats import keys
from igny8_backup.formats.object_lock import GOVERNANCE, ObjectLock, is_locked_key
from igny8_backup.store.base import Store
from igny8_backup.store.objects import SETTING, Protection, Stored, UnfinishedUpload, Version, exists_error
from igny8_backup.store.optional_methods import OptionalMethods
from igny8_backup.store.retry import Retry
from igny8_backup.store.s3.deletion import GroupDeletion
from igny8_backup.store.s3.download import Download
from igny8_backup.store.s3.exposure import public_access
from igny8_backup.store.s3.locks import extend_lock, lock_parameters, locked_until
from igny8_backup.store.s3.protection import may_lock, protection
from igny8_backup.store.s3.requests.bucket import Bucket, Parameters
from igny8_backup.store.s3.requests.client import client_of
from igny8_backup.store.s3.requests.errors import translated_errors
from igny8_backup.store.s3.requests.listing import OBJECTS, in_order
from igny8_backup.store.s3.server_copy import LARGEST, copy_on_server
from igny8_backup.store.s3.upload import part_size, upload, upload_file
from igny8_backup.store.s3.versions import PastStore, Versions
from igny8_backup.streams import Blocks

READERS = 16
"""The number of small objects that are read at the same time. A distant server answers in 30 ms or more."""


class S3Storage(Protocol):
    """The part of ``storages.backends.s3.S3Storage`` that ``S3Store`` uses, with type annotations."""

    bucket_name: str
    client_config: Any

    @property
    def connection(self) -> Any: ...
    def get_object_parameters(self, name: str) -> Parameters: ...
    def _get_write_parameters(self, name: str) -> Parameters: ...
    def _normalize_name(self, name: str) -> str: ...


class S3Store(Store):
    """A store whose objects are in an S3 bucket, below the location of an ``S3Storage``."""

    parallel_streams = True
    parallel_lists = True
    streams_again = True
    largest_file = 256 << 20
    """Size in bytes of the largest file that is sent in one request.

    S3 accepts 5 GiB, but a broken request is repeated from the beginning. For comparison: the index of a
    million files has 51 MB.
    """

    def __init__(
        self,
        storage: S3Storage,
        prefix: str,
        retry: Retry | None = None,
        lock: ObjectLock | None = None,
    ) -> None:
        super().__init__(prefix, retry)
        self.storage = storage
        self.lock = lock
        if not storage.bucket_name:
            raise StorageError(
                f"{SETTING} names no bucket.",
                unchanged="Nothing was read or written.",
                hint="Set bucket_name in its OPTIONS.",
            )
        with translated_errors("use", f"the bucket {storage.bucket_name}"):
            client = client_of(storage)
        self.readers = min(READERS, client.meta.config.max_pool_connections)
        endpoint = urlsplit(client.meta.endpoint_url)
        host = endpoint.hostname or ""
        self._endpoint = f"{host}:{endpoint.port}" if endpoint.port else host
        # The prefix of every name: the location of the storage, empty or ending with a slash.
        self._location = storage._normalize_name("x").removesuffix("x")
        place = f"the bucket {storage.bucket_name} at {self._endpoint}"
        self._bucket = Bucket(client, storage.bucket_name, place, self._parameters, self.retry)
        self._versions = Versions(self._bucket)
        self._group_deletion = GroupDeletion(self._bucket)

    def identity(self) -> str:
        return f"s3://{self._endpoint}/{self.storage.bucket_name}/{self._location}{self.prefix}"

    def describe(self) -> str:
        return f"{self._bucket.place}, under {self._location}{self.prefix}".removesuffix(", under ")

    def close(self) -> None:
        """Close the client's idle connections. The client opens new connections when needed."""
        self._bucket.client.close()

    def abandoned_uploads(self) -> list[UnfinishedUpload]:
        top = self._location + self.prefix
        return [
            UnfinishedUpload(found.key.removeprefix(top), found.upload_id, found.initiated)
            for found in self._bucket.unfinished(top)
        ]

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        self._bucket.abort(self._location + self.prefix + upload.key, upload.upload_id)

    def public_access(self) -> str:
        return public_access(self._bucket)

    def versions(self, key: str) -> list[Version]:
        name = self._key(self._name(key))
        return self._versions.of(name)

    def hidden(self, prefix: str) -> dict[str, list[Version]]:
        top = self._location + self.prefix
        found = self._versions.hidden(self._location + self._folder(prefix))
        return {key.removeprefix(top): items for key, items in found.items()}

    def open_version(self, key: str, version: Version) -> Blocks:
        return self.retry.stream(Download(self._bucket, self._key(self._name(key)), version.id))

    def list_level(self, prefix: str) -> tuple[list[Stored], list[str]]:
        top = self._location + self.prefix
        objects, folders = self._bucket.level(self._location + self._folder(prefix))
        return [item.renamed(item.key.removeprefix(top)) for item in objects], folders

    def list_page(self, prefix: str, after: str) -> tuple[list[Stored], str] | None:
        top = self._location + self.prefix
        given = {"StartAfter": top + after} if after else {}
        pages = self._bucket.pages(OBJECTS, Prefix=self._location + self._folder(prefix), **given)
        return in_order(next(pages), after, top)

    def delete_several(self, keys: Sequence[str], check: Callable[[], None]) -> Iterator[str]:
        if self._versions.are_kept():
            yield from super().delete_several(keys, check)
            return
        names = {self._key(self._name(key)): key for key in keys}
        for some in self._group_deletion.groups(names):
            check()
            left = {names[name] for name in self._group_deletion.delete(some)}
            yield from (names[name] for name in some if names[name] not in left)
            yield from super().delete_several([*left], check)

    @cached_property
    def _may_lock(self) -> bool:
        return self._versions.are_kept() and may_lock(self._bucket)

    def locked_until(self, key: str) -> datetime | None:
        if not self._may_lock:
            return None  # no request for each object
        return locked_until(self._bucket, self._key(self._name(key)))

    def extend_lock(self, key: str, until: datetime, *, version: Version | None = None) -> None:
        mode = self.lock.mode if self.lock else GOVERNANCE
        extend_lock(self._bucket, self._key(self._name(key)), mode, until, version)

    def protection(self) -> Protection:
        top = self._location + self.prefix
        return protection(self._bucket, rewritten=top + keys.RUNS, released=top + keys.LOCKS)

    def as_of(self, moment: datetime) -> Store:
        if not self._versions.are_kept():
            return super().as_of(moment)
        return PastStore(self, self._bucket, self._location, moment)

    def copy_from(self, source: OptionalMethods, key: str, size: int, version: Version | None) -> str | None:
        near = isinstance(source, S3Store) and source._endpoint == self._endpoint and size <= LARGEST
        if not (near and isinstance(source, S3Store)):
            return None
        target_key = self._free_key(self._name(key), claimed=False)
        return copy_on_server(
            source._bucket, source._key(source._name(key)), self._bucket, target_key, version
        )

    def _put(self, name: str, blocks: Blocks, estimate: int | None, claimed: bool) -> None:
        upload(self._bucket, self._free_key(name, claimed), blocks, part_size(estimate))

    def _put_file(self, name: str, file: BinaryIO, size: int, claimed: bool) -> None:
        if size > self.largest_file:
            super()._put_file(name, file, size, claimed)
        else:
            upload_file(self._bucket, self._free_key(name, claimed), file)

    def _put_small(self, name: str, data: bytes) -> None:
        self._versions.replace(self._key(name), BytesIO(data))

    def _open(self, name: str) -> Callable[[int], Blocks]:
        return Download(self._bucket, self._key(name))

    def _list(self, folder: str) -> Iterator[Stored]:
        found = self._bucket.objects(self._location + folder)
        if not self._location:
            return iter(found)
        return (item.renamed(item.key.removeprefix(self._location)) for item in found)

    def _list_dirs(self, folder: str) -> list[str]:
        return self._bucket.level(self._location + folder)[1]

    def _size(self, name: str) -> int | None:
        head = self._bucket.head(self._key(name))
        return None if head is None else int(head["ContentLength"])

    def _delete(self, name: str) -> None:
        self._versions.delete_object(self._key(name))

    def _free_key(self, name: str, claimed: bool) -> str:
        """Return the key of ``name``. Raises ``ObjectExistsError`` if an object has this key.

        With ``claimed``, as for ``Store.put``, nothing is checked. A separate request checks the key, because
        not every server supports ``If-None-Match`` for writing.
        """
        key = self._key(name)
        if not claimed and self._bucket.head(key, of_bucket=False) is not None:
            raise exists_error(name, self.describe())
        return key

    def _key(self, name: str) -> str:
        return self.storage._normalize_name(name)

    def _parameters(self, key: str) -> Parameters:
        """Return the parameters with which a new object is stored: the storage's settings and the lock.

        A ``ContentEncoding`` is left out unless the settings contain it. The storage guesses it from the name
        of the object, and a client that decodes the content would return other bytes than were stored.
        """
        parameters = self.storage._get_write_parameters(key)
        if "ContentEncoding" not in self.storage.get_object_parameters(key):
            parameters.pop("ContentEncoding", None)
        if self.lock and is_locked_key(key.removeprefix(self._location + self.prefix)):
            parameters |= lock_parameters(self.lock)
        return parameters
