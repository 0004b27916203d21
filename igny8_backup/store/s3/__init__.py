"""The store for S3 and compatible servers.

``S3Store`` uses the boto3 client and all settings of django-storages' ``S3Storage``: location, encryption,
ACL, credentials, endpoint. It does not read through that storage, because ``S3File.read()`` loads a complete
object into memory or a temporary file. Only this package imports boto3.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlsplit

from igny8_backup.errors import StorageError
from igny8_backup.store.base import SETTING, Store, Stored, UnfinishedUpload, exists_error
from igny8_backup.store.s3.bucket import Bucket, Parameters
from igny8_backup.store.s3.download import download
from igny8_backup.store.s3.errors import translated_errors
from igny8_backup.store.s3.upload import part_size, upload, upload_file
from igny8_backup.streams import Blocks

PAUSE = 0.5
"""Seconds to wait before resuming a broken download. The wait doubles with each further attempt."""


class S3Storage(Protocol):
    """The part of ``storages.backends.s3.S3Storage`` that ``S3Store`` uses, with type annotations."""

    bucket_name: str

    @property
    def connection(self) -> Any: ...
    def get_object_parameters(self, name: str) -> Parameters: ...
    def _get_write_parameters(self, name: str) -> Parameters: ...
    def _normalize_name(self, name: str) -> str: ...


class S3Store(Store):
    """A store whose objects are in an S3 bucket, below the location of an ``S3Storage``."""

    parallel_reads = True
    largest_file = 256 << 20
    """Size in bytes of the largest file that is sent in one request.

    S3 accepts 5 GiB, but boto3 repeats a broken request from the beginning. For comparison: the index of a
    million files has 51 MB.
    """

    def __init__(self, storage: S3Storage, prefix: str, *, pause: float = PAUSE) -> None:
        super().__init__(prefix)
        self.storage = storage
        self._pause = pause
        if not storage.bucket_name:
            raise StorageError(
                f"{SETTING} names no bucket.",
                unchanged="Nothing was read or written.",
                hint="Set bucket_name in its OPTIONS.",
            )
        with translated_errors("use", f"the bucket {storage.bucket_name}"):
            client = storage.connection.meta.client
        endpoint = urlsplit(client.meta.endpoint_url)
        host = endpoint.hostname or ""
        self._endpoint = f"{host}:{endpoint.port}" if endpoint.port else host
        # The prefix of every name: the location of the storage, empty or ending with a slash.
        self._location = storage._normalize_name("x").removesuffix("x")
        place = f"the bucket {storage.bucket_name} at {self._endpoint}"
        self._bucket = Bucket(client, storage.bucket_name, place, self._parameters)

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

    def _put(self, name: str, blocks: Blocks, estimate: int | None, claimed: bool) -> None:
        upload(self._bucket, self._free_key(name, claimed), blocks, part_size(estimate))

    def _put_file(self, name: str, file: BinaryIO, size: int, claimed: bool) -> None:
        if size > self.largest_file:
            super()._put_file(name, file, size, claimed)
        else:
            upload_file(self._bucket, self._free_key(name, claimed), file)

    def _put_small(self, name: str, data: bytes) -> None:
        self._bucket.put(self._key(name), BytesIO(data), replace=True)

    def _open(self, name: str) -> Blocks:
        return download(self._bucket, self._key(name), pause=self._pause)

    def _list(self, folder: str) -> Iterator[Stored]:
        for found in self._bucket.objects(self._location + folder):
            yield Stored(found.key.removeprefix(self._location), found.size, found.modified)

    def _list_dirs(self, folder: str) -> list[str]:
        return self._bucket.folders(self._location + folder)

    def _size(self, name: str) -> int | None:
        head = self._bucket.head(self._key(name))
        return None if head is None else int(head["ContentLength"])

    def _delete(self, name: str) -> None:
        self._bucket.delete(self._key(name))

    def _free_key(self, name: str, claimed: bool) -> str:
        """Return the key of ``name``. Raises ``ObjectExistsError`` if an object has it.

        With ``claimed``, as for ``Store.put``, nothing is checked. The check is a request of its own, because
        not every server supports ``If-None-Match`` for writing.
        """
        key = self._key(name)
        if not claimed and self._bucket.head(key, of_bucket=False) is not None:
            raise exists_error(name, self.describe())
        return key

    def _key(self, name: str) -> str:
        return self.storage._normalize_name(name)

    def _parameters(self, key: str) -> Parameters:
        """Return the storage's settings for a new object, without a guessed ``ContentEncoding``.

        The storage derives the encoding from the name of the object. A client that decodes the content would
        return other bytes than were stored.
        """
        parameters = self.storage._get_write_parameters(key)
        if "ContentEncoding" not in self.storage.get_object_parameters(key):
            parameters.pop("ContentEncoding", None)
        return parameters
