"""The S3 requests of backups on one bucket, with errors translated to ``StorageError``.

Each request has those parameters of the storage's settings that it accepts: encryption with a customer's key,
requester pays, expected owner of the bucket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC
from typing import Any, BinaryIO, TypeAlias

from igny8_backup.errors import StorageError
from igny8_backup.store.base import MissingObjectError, Stored, UnfinishedUpload
from igny8_backup.store.s3.errors import code_of, status_of, translated_errors

Answer: TypeAlias = dict[str, Any]
Parameters: TypeAlias = dict[str, Any]

ANY_CALL = {"RequestPayer", "ExpectedBucketOwner"}
DATA_CALL = {"SSECustomerAlgorithm", "SSECustomerKey", "SSECustomerKeyMD5", *ANY_CALL}
PART_CALL = {"ChecksumAlgorithm", *DATA_CALL}


class TakenError(StorageError):
    """The server reports that the key exists. It may be the object of a request whose answer was lost."""


@dataclass(frozen=True)
class Bucket:
    """A bucket: the boto3 client (thread-safe), the name of the bucket, and its description in errors.

    ``parameters`` returns the storage's parameters for a new object with the given key.
    """

    client: Any
    name: str
    place: str
    parameters: Callable[[str], Parameters]

    def head(self, key: str, *, of_bucket: bool = True) -> Answer | None:
        """Return ``ContentLength`` (bytes), ``ETag`` and more, or ``None`` if the object is missing.

        Without ``of_bucket`` a missing bucket looks like a missing object, which saves a request if a write
        follows.
        """
        try:
            with translated_errors(f"look up {key} in", self.place):
                return self._call("head_object", DATA_CALL, key)
        except StorageError as error:
            refusal = error
            status = status_of(error.__cause__)
            if status not in (403, 404):
                raise
        if status == 404 and not of_bucket:
            return None
        # The answer to HEAD has no body: a missing bucket looks like a missing object, and wrong credentials
        # like a missing permission. The answer to a listing tells them apart.
        with translated_errors(f"look up {key} in", self.place):
            # The key is the prefix, because a policy may allow listing for some prefixes only.
            self.client.list_objects_v2(Bucket=self.name, Prefix=key, MaxKeys=1, **self._wanted(ANY_CALL))
        if status == 403:
            raise refusal
        return None

    def put(self, key: str, body: BinaryIO, *, replace: bool) -> None:
        """Store an object in one request. Raises ``TakenError`` if the key exists and ``replace`` is
        false."""
        with translated_errors(f"write {key} to", self.place):
            self._create("put_object", key, replace, body, {"Body": body, **self.parameters(key)})

    def get(self, key: str, start: int = 0, etag: str = "") -> Answer:
        """Return the answer to GET with an unread ``Body``, from byte ``start`` of the version ``etag``."""
        condition = {"IfMatch": etag, "Range": f"bytes={start}-"} if start else {}
        try:
            with translated_errors(f"read {key} from", self.place):
                return self._call("get_object", DATA_CALL, key, **condition)
        except StorageError as error:
            if not _is_missing(error):
                raise
            raise MissingObjectError(
                f"{key} is missing in {self.place}.", hint="List the existing backups with list_backups."
            ) from None

    def delete(self, key: str) -> None:
        """Delete an object. A missing object is no error."""
        try:
            with translated_errors(f"delete {key} from", self.place):
                self._call("delete_object", ANY_CALL, key)
        except StorageError as error:
            if not _is_missing(error):  # the answer of Google Cloud Storage
                raise

    def objects(self, prefix: str) -> list[Stored]:
        """Return all objects whose keys start with ``prefix``, sorted, without folder markers of other
        tools."""
        found = [
            Stored(entry["Key"], entry["Size"], entry["LastModified"].astimezone(UTC))
            for page in self._pages("list_objects_v2", Prefix=prefix)
            for entry in page.get("Contents", ())
            if not entry["Key"].endswith("/")
        ]
        # S3 sorts them, except in directory buckets; some other servers do not.
        return sorted(found, key=lambda stored: stored.key)

    def folders(self, prefix: str) -> list[str]:
        """Return the part of each key between ``prefix`` and the next slash, without duplicates."""
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
        with translated_errors(f"write part {number} of {key} to", self.place):
            answer = self._call(
                "upload_part", PART_CALL, key, UploadId=upload_id, PartNumber=number, Body=body
            )
        part = {"PartNumber": number, "ETag": answer["ETag"]}
        algorithm = self.parameters(key).get("ChecksumAlgorithm", "")
        if checksum := answer.get(f"Checksum{algorithm}"):
            part[f"Checksum{algorithm}"] = checksum
        return part

    def complete(self, key: str, upload_id: str, parts: list[Parameters]) -> None:
        """Combine the parts into an object. Raises ``TakenError`` if the key exists by now."""
        given = {"UploadId": upload_id, "MultipartUpload": {"Parts": parts}, **self._wanted(DATA_CALL, key)}
        with translated_errors(f"complete {key} in", self.place):
            self._create("complete_multipart_upload", key, False, None, given)

    def abort(self, key: str, upload_id: str) -> None:
        """Abort an upload and free its parts. A missing upload is no error."""
        try:
            with translated_errors(f"abort the upload of {key} to", self.place):
                self._call("abort_multipart_upload", ANY_CALL, key, UploadId=upload_id)
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
            # rclone answers NoSuchUpload if there is none; some servers do not support the request.
            if code_of(error.__cause__) == "NoSuchUpload" or status_of(error.__cause__) in (405, 501):
                return []
            raise

    def _pages(self, operation: str, **given: Any) -> Iterator[Answer]:
        with translated_errors("list", self.place):
            paginator = self.client.get_paginator(operation)
            yield from paginator.paginate(Bucket=self.name, **self._wanted(ANY_CALL), **given)

    def _wanted(self, known: set[str], key: str = "") -> Parameters:
        return {name: value for name, value in self.parameters(key).items() if name in known}

    def _call(self, operation: str, known: set[str], key: str, **given: Any) -> Answer:
        call = getattr(self.client, operation)
        answer: Answer = call(Bucket=self.name, Key=key, **self._wanted(known, key), **given)
        return answer

    def _create(
        self, operation: str, key: str, replace: bool, body: BinaryIO | None, given: Parameters
    ) -> None:
        call = getattr(self.client, operation)
        if not replace:
            try:
                call(Bucket=self.name, Key=key, IfNoneMatch="*", **given)
                return
            except Exception as error:
                if status_of(error) == 412:
                    raise TakenError(
                        f"{key} already exists in {self.place}.",
                        unchanged="It was not overwritten.",
                        hint="Start the backup again: each run uses new names.",
                    ) from error
                if status_of(error) != 501:  # the server does not support the condition
                    raise
                if body is not None:
                    body.seek(0)
        call(Bucket=self.name, Key=key, **given)


def _is_missing(error: StorageError) -> bool:
    return status_of(error.__cause__) == 404 and code_of(error.__cause__) != "NoSuchBucket"
