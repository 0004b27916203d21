"""The store for Google Cloud Storage, through the client of django-storages' ``GoogleCloudStorage``.

``GoogleCloudStorage`` itself can store only files that it can rewind, not streams. Only this module imports
Google's library. Source of the upload protocol: Google Cloud Storage, "Perform resumable uploads".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC
from typing import Any, Protocol

from google.api_core.exceptions import NotFound, PreconditionFailed, from_http_response

from igny8_backup.store.clouds.blobs import TOKEN, Blob, BlobStore
from igny8_backup.store.foreign import translated_errors
from igny8_backup.store.objects import Stored, exists_error
from igny8_backup.store.retry import Retry

ONCE = {"retry": None, "timeout": (10, 60)}
"""Keep Google's library from repeating a request silently: ``Retry`` repeats requests and reports it."""
KIND = "application/octet-stream"


class GoogleStorage(Protocol):
    """The part of ``storages.backends.gcloud.GoogleCloudStorage`` that ``GoogleStore`` uses."""

    bucket_name: str
    default_acl: str | None

    @property
    def client(self) -> Any: ...
    @property
    def bucket(self) -> Any: ...
    def get_object_parameters(self, name: str) -> dict[str, Any]: ...
    def _normalize_name(self, name: str) -> str: ...


class GoogleStore(BlobStore):
    """A store whose objects are in a bucket, below the location of a ``GoogleCloudStorage``."""

    def __init__(self, storage: GoogleStorage, prefix: str, retry: Retry | None = None) -> None:
        super().__init__(prefix, retry)
        self.storage = storage
        with translated_errors("use", f"the bucket {storage.bucket_name}"):
            self._bucket = storage.bucket
            self._location = storage._normalize_name("x").removesuffix("x")

    def identity(self) -> str:
        return f"gs://{self.storage.bucket_name}/{self._location}{self.prefix}"

    def describe(self) -> str:
        place = f"the bucket {self.storage.bucket_name} at Google"
        return f"{place}, under {self._location}{self.prefix}".removesuffix(", under ")

    def public_access(self) -> str:
        with suppress(Exception):  # not allowed, or not supported
            policy = self._bucket.get_iam_policy(requested_policy_version=3, **ONCE)
            for binding in policy.bindings:
                if {"allUsers", "allAuthenticatedUsers"} & set(binding["members"]):
                    return f"the policy of the bucket gives everybody the role {binding['role']}"
        return ""

    def _key(self, name: str) -> str:
        return self._location + name

    def _head(self, key: str) -> Blob | None:
        found = self._bucket.get_blob(key, **ONCE)
        if found is None:
            # The answer for a missing bucket is the same; a listing tells them apart.
            next(iter(self.storage.client.list_blobs(self._bucket, prefix=key, max_results=1, **ONCE)), None)
            return None
        token = (found.metadata or {}).get(TOKEN, "")
        return Blob(size=found.size, version=str(found.generation), token=token)

    def _read(self, key: str, start: int, length: int, version: str) -> bytes:
        blob = self._bucket.blob(key, generation=int(version))
        end = start + length - 1
        data: bytes = blob.download_as_bytes(
            start=start, end=end, raw_download=True, checksum=None, single_shot_download=True, **ONCE
        )
        return data

    def _send(self, key: str, data: bytes, token: str, *, replace: bool) -> None:
        condition = {} if replace else {"if_generation_match": 0}
        blob, acl = self._new(key, token)
        try:
            blob.upload_from_string(data, content_type=KIND, predefined_acl=acl, **condition, **ONCE)
        except PreconditionFailed as error:
            raise exists_error(key, self.describe()) from error

    def _send_parts(self, key: str, parts: Iterator[bytes], token: str) -> None:
        blob, acl = self._new(key, token)
        given = {"content_type": KIND, "predefined_acl": acl, "if_generation_match": 0, "checksum": None}
        url = self.retry.call(lambda: self._begin(blob, given))
        upload = _ResumableUpload(self.storage.client._http, url)
        try:
            part = next(parts, b"")
            while part:
                following = next(parts, b"")
                self._send_part(key, upload, part, token, last=not following)
                upload.sent += len(part)
                part = following
        except BaseException:
            upload.cancel()
            raise

    def _begin(self, blob: Any, given: dict[str, Any]) -> str:
        def request() -> str:
            return str(blob.create_resumable_upload_session(**given, **ONCE))

        return self._ask("write", blob.name, request)

    def _send_part(self, key: str, upload: _ResumableUpload, part: bytes, token: str, *, last: bool) -> None:
        def send() -> None:
            try:
                upload.send(part, last=last)
            except PreconditionFailed as error:
                raise exists_error(key, self.describe()) from error
            except NotFound:
                # The session ends when the upload is complete, so perhaps only the answer was lost.
                found = self._head(key)
                if not last or found is None or found.token != token:
                    raise

        self._create(key.removeprefix(self._location), token, send)

    def _remove(self, key: str) -> None:
        with suppress(NotFound):
            self._bucket.delete_blob(key, **ONCE)

    def _list(self, folder: str) -> Iterator[Stored]:
        with translated_errors("list", self.describe()):
            found = [
                Stored(
                    item.name.removeprefix(self._location),
                    item.size,
                    item.updated.astimezone(UTC),
                    str(item.generation or ""),
                )
                for item in self.storage.client.list_blobs(self._bucket, prefix=self._key(folder), **ONCE)
                if not item.name.endswith("/")
            ]
        yield from sorted(found, key=lambda stored: stored.key)

    def _list_dirs(self, folder: str) -> list[str]:
        start = self._key(folder)
        with translated_errors("list", self.describe()):
            found = self.storage.client.list_blobs(self._bucket, prefix=start, delimiter="/", **ONCE)
            for _ in found:  # the folders are known after the last page
                pass
            return [name.removeprefix(start).removesuffix("/") for name in found.prefixes]

    def _new(self, key: str, token: str) -> tuple[Any, str | None]:
        blob = self._bucket.blob(key)
        parameters = self.storage.get_object_parameters(key)
        acl = parameters.pop("acl", self.storage.default_acl)
        for name, value in parameters.items():
            setattr(blob, name, value)
        blob.metadata = {**(blob.metadata or {}), TOKEN: token}
        return blob, acl


class _ResumableUpload:
    """An upload in parts to the session ``url``. ``sent`` is the number of bytes in the parts sent so far."""

    def __init__(self, session: Any, url: str) -> None:
        self._session = session
        self._url = url
        self.sent = 0

    def send(self, part: bytes, *, last: bool) -> None:
        """Send a part, or send it again: the storage ignores bytes that it has already.

        ``last``: the part is the last one, so the upload is complete with it.
        """
        end = self.sent + len(part)
        span = f"bytes {self.sent}-{end - 1}/{end if last else '*'}"
        answer = self._session.put(self._url, data=part, headers={"Content-Range": span}, timeout=60)
        if answer.status_code not in (200, 201, 308):
            raise from_http_response(answer)  # type: ignore[no-untyped-call]  # Google's
        if answer.status_code == 308 and (last or self._arrived(answer) != end):
            raise ConnectionError("the storage has received only some of the bytes")

    def cancel(self) -> None:
        with suppress(Exception):
            self._session.delete(self._url, timeout=60)

    @staticmethod
    def _arrived(answer: Any) -> int:
        found = re.fullmatch(r"bytes=0-(\d+)", answer.headers.get("Range", ""))
        return int(found[1]) + 1 if found else 0
