"""The S3 requests of backups on one bucket, with errors translated to ``StorageError``.

Each request includes those settings of the storage that S3 accepts for it, such as encryption with a
customer's key, requester pays, or the expected owner of the bucket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC
from functools import partial
from typing import Any, BinaryIO, TypeAlias

from igny8_backup.errors import StorageError
from igny8_backup.store.base import Stored, UnfinishedUpload, exists_error, missing_error
from igny8_backup.store.s3.errors import code_of, status_of, translated_errors

Answer: TypeAlias = dict[str, Any]
Parameters: TypeAlias = dict[str, Any]

ANY_CALL = {"RequestPayer", "ExpectedBucketOwner"}
DATA_CALL = {"SSECustomerAlgorithm", "SSECustomerKey", "SSECustomerKeyMD5", *ANY_CALL}
PART_CALL = {"ChecksumAlgorithm", *DATA_CALL}


@dataclass(frozen=True)
class Bucket:
    """The requests on one bucket.

    ``client`` is the boto3 client (thread-safe) and ``place`` describes the bucket in error messages.
    ``parameters`` returns the storage's parameters for a new object with a given key.
    """

    client: Any
    name: str
    place: str
    parameters: Callable[[str], Parameters]

    def head(self, key: str, *, of_bucket: bool = True) -> Answer | None:
        """Return ``ContentLength`` (bytes), ``ETag`` and more, or ``None`` if the object is missing.

        With ``of_bucket``, a second request finds out whether the bucket is missing, which raises
        ``StorageError``. Without it, a missing bucket gives ``None`` too; a later write reports it.
        """
        try:
            return self._call(f"look up {key} in", "head_object", DATA_CALL, key)
        except StorageError as error:
            refusal = error
            status = status_of(error.__cause__)
            if status not in (403, 404):
                raise
        if status == 404 and not of_bucket:
            return None
        # The answer to HEAD has no body. So a missing bucket cannot be distinguished from a missing object,
        # nor wrong credentials from a missing permission. The answer to a listing has the exact error code.
        with translated_errors(f"look up {key} in", self.place):
            # The key is the prefix, because a policy may allow listing for some prefixes only.
            self.client.list_objects_v2(Bucket=self.name, Prefix=key, MaxKeys=1, **self._wanted(ANY_CALL))
        if status == 403:
            raise refusal
        return None

    def put(self, key: str, body: BinaryIO, *, replace: bool) -> None:
        """Store an object in one request.

        Raises ``ObjectExistsError`` if the key exists and ``replace`` is false.
        """
        self._create(f"write {key} to", "put_object", key, replace, Body=body, **self.parameters(key))

    def get(self, key: str, start: int = 0, etag: str = "") -> Answer:
        """Return the answer to GET, with a ``Body`` that the caller reads and closes.

        With ``start``, the body begins at that byte, and the request fails unless the object still has the
        ETag ``etag``. Raises ``MissingObjectError``.
        """
        condition = {"IfMatch": etag, "Range": f"bytes={start}-"} if start else {}
        try:
            return self._call(f"read {key} from", "get_object", DATA_CALL, key, **condition)
        except StorageError as error:
            if not _is_missing(error):
                raise
            raise missing_error(key, self.place) from None

    def delete(self, key: str) -> None:
        """Delete an object. A missing object is no error."""
        try:
            self._call(f"delete {key} from", "delete_object", ANY_CALL, key)
        except StorageError as error:
            if not _is_missing(error):  # Google Cloud Storage answers 404 for a missing object
                raise

    def objects(self, prefix: str) -> list[Stored]:
        """Return all objects whose keys start with ``prefix``, sorted by key.

        Keys that end with a slash are omitted: other tools create such objects as folders.
        """
        found = [
            Stored(entry["Key"], entry["Size"], entry["LastModified"].astimezone(UTC))
            for page in self._pages("list_objects_v2", Prefix=prefix)
            for entry in page.get("Contents", ())
            if not entry["Key"].endswith("/")
        ]
        # S3 directory buckets and some other servers return objects in any order.
        return sorted(found, key=lambda stored: stored.key)

    def folders(self, prefix: str) -> list[str]:
        """Return the folders directly in ``prefix``: the part of each key between it and the next slash."""
        return [
            entry["Prefix"][len(prefix) :].removesuffix("/")
            for page in self._pages("list_objects_v2", Prefix=prefix, Delimiter="/")
            for entry in page.get("CommonPrefixes", ())
        ]

    def begin(self, key: str) -> str:
        """Begin a multipart upload and return its id."""
        with translated_errors(f"write {key} to", self.place):
            answer = self.client.create_multipart_upload(Bucket=self.name, Key=key, **self.parameters(key))
        return str(answer["UploadId"])

    def send_part(self, key: str, upload_id: str, number: int, body: BinaryIO) -> Parameters:
        """Upload a part and return its entry for ``complete``."""
        action, given = f"write part {number} of {key} to", {"PartNumber": number, "Body": body}
        answer = self._call(action, "upload_part", PART_CALL, key, UploadId=upload_id, **given)
        part = {"PartNumber": number, "ETag": answer["ETag"]}
        algorithm = self.parameters(key).get("ChecksumAlgorithm", "")
        if checksum := answer.get(f"Checksum{algorithm}"):
            part[f"Checksum{algorithm}"] = checksum
        return part

    def complete(self, key: str, upload_id: str, parts: list[Parameters]) -> None:
        """Combine the parts into an object. Raises ``ObjectExistsError`` if the key exists by now."""
        given = {"UploadId": upload_id, "MultipartUpload": {"Parts": parts}, **self._wanted(DATA_CALL, key)}
        self._create(f"complete {key} in", "complete_multipart_upload", key, False, **given)

    def abort(self, key: str, upload_id: str) -> None:
        """Abort an upload and free its parts. A missing upload is no error."""
        try:
            action = f"abort the upload of {key} to"
            self._call(action, "abort_multipart_upload", ANY_CALL, key, UploadId=upload_id)
        except StorageError as error:
            if code_of(error.__cause__) != "NoSuchUpload":
                raise

    def unfinished(self, prefix: str) -> list[UnfinishedUpload]:
        """Return the multipart uploads that were neither completed nor aborted."""
        try:
            return [
                UnfinishedUpload(entry["Key"], entry["UploadId"], entry["Initiated"].astimezone(UTC))
                for page in self._pages("list_multipart_uploads", Prefix=prefix)
                for entry in page.get("Uploads", ())
            ]
        except StorageError as error:
            # rclone answers NoSuchUpload if there is no upload; some servers do not support the request.
            if code_of(error.__cause__) == "NoSuchUpload" or status_of(error.__cause__) in (405, 501):
                return []
            raise

    def _pages(self, operation: str, **given: Any) -> Iterator[Answer]:
        with translated_errors("list", self.place):
            paginator = self.client.get_paginator(operation)
            yield from paginator.paginate(Bucket=self.name, **self._wanted(ANY_CALL), **given)

    def _wanted(self, known: set[str], key: str = "") -> Parameters:
        return {name: value for name, value in self.parameters(key).items() if name in known}

    def _call(self, action: str, operation: str, known: set[str], key: str, **given: Any) -> Answer:
        """Call the client's method ``operation``; ``action`` describes the request in errors.

        ``known`` are those settings of the storage that the operation accepts.
        """
        with translated_errors(action, self.place):
            call = getattr(self.client, operation)
            answer: Answer = call(Bucket=self.name, Key=key, **self._wanted(known, key), **given)
            return answer

    def _create(self, action: str, operation: str, key: str, replace: bool, **given: Any) -> None:
        """Call the client's method ``operation``, which creates an object; ``action`` as for ``_call``."""
        call = partial(getattr(self.client, operation), Bucket=self.name, Key=key, **given)
        with translated_errors(action, self.place):
            try:
                call(**({} if replace else {"IfNoneMatch": "*"}))
            except Exception as error:
                if status_of(error) == 412:
                    raise exists_error(key, self.place) from error
                if replace or status_of(error) != 501:  # 501: the server does not support the condition
                    raise
                if body := given.get("Body"):
                    body.seek(0)
                call()


def _is_missing(error: StorageError) -> bool:
    return status_of(error.__cause__) == 404 and code_of(error.__cause__) != "NoSuchBucket"
