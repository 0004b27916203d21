"""The store for Azure Blob Storage, through the client of django-storages' ``AzureStorage``.

``AzureStorage`` itself can list the complete names of objects only, not the folders in a folder. Only this
module imports Azure's library.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC
from typing import Any, Protocol

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceModifiedError
from azure.storage.blob import BlobBlock, BlobPrefix, ContentSettings

from igny8_backup.store.clouds.blobs import TOKEN, Blob, BlobStore
from igny8_backup.store.foreign import translated_errors
from igny8_backup.store.objects import Stored, exists_error
from igny8_backup.store.retry import Retry

ONCE = {"retry_total": 0, "connection_timeout": 10, "read_timeout": 60}
"""Keep Azure's library from repeating a request silently: ``Retry`` repeats requests and reports it."""
MISSING = "BlobNotFound"
MOST_BLOCKS = 50_000
"""The largest number of blocks in a blob.

Source: Azure Blob Storage, "Scalability and performance targets"."""


class AzureStorage(Protocol):
    """The part of ``storages.backends.azure_storage.AzureStorage`` that ``AzureStore`` uses."""

    azure_container: str

    @property
    def client(self) -> Any: ...
    def get_object_parameters(self, name: str) -> dict[str, Any]: ...
    def _normalize_name(self, name: str) -> str: ...


class AzureStore(BlobStore):
    """A store whose objects are block blobs in a container, below the location of an ``AzureStorage``."""

    def __init__(self, storage: AzureStorage, prefix: str, retry: Retry | None = None) -> None:
        super().__init__(prefix, retry)
        self.storage = storage
        place = f"the container {storage.azure_container}"
        with translated_errors("use", place):
            self._container = storage.client
            self._host = f"{self._container.primary_hostname}".partition("?")[0]
            self._location = storage._normalize_name("x").removesuffix("x")

    def identity(self) -> str:
        return f"azure://{self._host}/{self.storage.azure_container}/{self._location}{self.prefix}"

    def describe(self) -> str:
        place = f"the container {self.storage.azure_container} at {self._host}"
        return f"{place}, under {self._location}{self.prefix}".removesuffix(", under ")

    def public_access(self) -> str:
        try:
            access = self._container.get_container_properties(**ONCE).public_access
        except HttpResponseError:  # not allowed
            return ""
        return f"the container has the public access level {access!s}" if access else ""

    def _key(self, name: str) -> str:
        return self._location + name

    def _head(self, key: str) -> Blob | None:
        try:
            found = self._container.get_blob_client(key).get_blob_properties(**ONCE)
        except HttpResponseError as error:
            if getattr(error, "error_code", "") == MISSING:
                return None
            raise
        return Blob(size=found.size, version=found.etag, token=(found.metadata or {}).get(TOKEN, ""))

    def _read(self, key: str, start: int, length: int, version: str) -> bytes:
        blob = self._container.get_blob_client(key)
        condition = {"etag": version, "match_condition": MatchConditions.IfNotModified}
        data: bytes = blob.download_blob(offset=start, length=length, **condition, **ONCE).readall()
        return data

    def _send(self, key: str, data: bytes, token: str, *, replace: bool) -> None:
        blob = self._container.get_blob_client(key)
        settings = self._settings(key, token)
        try:
            blob.upload_blob(data, length=len(data), overwrite=replace, **settings, **ONCE)
        except (ResourceExistsError, ResourceModifiedError) as error:
            raise exists_error(key, self.describe()) from error

    def _send_parts(self, key: str, parts: Iterator[bytes], token: str) -> None:
        blob = self._container.get_blob_client(key)
        blocks: list[BlobBlock] = []
        for part in parts:
            # The token keeps the blocks of two uploads apart. Blocks that are not committed expire in a week.
            number = base64.b64encode(f"{token}{len(blocks):08}".encode()).decode()
            self._stage(blob, number, part)
            blocks.append(BlobBlock(number))
        condition = {"match_condition": MatchConditions.IfMissing}

        def commit() -> None:
            try:
                blob.commit_block_list(blocks, **self._settings(key, token), **condition, **ONCE)
            except (ResourceExistsError, ResourceModifiedError) as error:
                raise exists_error(key, self.describe()) from error

        self._create(key.removeprefix(self._location), token, commit)

    def _stage(self, blob: Any, number: str, part: bytes) -> None:
        def request() -> None:
            blob.stage_block(number, part, length=len(part), **ONCE)

        self.retry.call(lambda: self._ask("write", "a block", request, size=len(part)))

    def _remove(self, key: str) -> None:
        try:
            self._container.delete_blob(key, **ONCE)
        except HttpResponseError as error:
            if getattr(error, "error_code", "") != MISSING:
                raise

    def _list(self, folder: str) -> Iterator[Stored]:
        with translated_errors("list", self.describe()):
            found = [
                Stored(
                    item.name.removeprefix(self._location),
                    item.size,
                    item.last_modified.astimezone(UTC),
                    str(item.etag or ""),
                )
                for item in self._container.list_blobs(name_starts_with=self._key(folder), **ONCE)
                if not item.name.endswith("/")
            ]
        yield from sorted(found, key=lambda stored: stored.key)

    def _list_dirs(self, folder: str) -> list[str]:
        start = self._key(folder)
        with translated_errors("list", self.describe()):
            return [
                item.name.removeprefix(start).removesuffix("/")
                for item in self._container.walk_blobs(name_starts_with=start, delimiter="/", **ONCE)
                if isinstance(item, BlobPrefix)
            ]

    def _settings(self, key: str, token: str) -> dict[str, Any]:
        parameters = {"content_type": "application/octet-stream", **self.storage.get_object_parameters(key)}
        return {"content_settings": ContentSettings(**parameters), "metadata": {TOKEN: token}}
