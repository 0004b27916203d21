"""The S3 calls that backups make, on one bucket, with failures in plain words.

Each call carries what the storage's settings want on it (encryption with a customer's key, who pays, whose
bucket it must be) as far as that call knows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC
from typing import Any, BinaryIO, TypeAlias

from igny8_backup.errors import StorageError
from igny8_backup.store.base import MissingObjectError, Stored, UnfinishedUpload
from igny8_backup.store.s3.errors import code_of, plain_words, status_of

Answer: TypeAlias = dict[str, Any]
Parameters: TypeAlias = dict[str, Any]

ANY_CALL = {"RequestPayer", "ExpectedBucketOwner"}
DATA_CALL = {"SSECustomerAlgorithm", "SSECustomerKey", "SSECustomerKeyMD5", *ANY_CALL}
PART_CALL = {"ChecksumAlgorithm", *DATA_CALL}


class TakenError(StorageError):
    """The key is taken, says the server; perhaps by the very object whose answer got lost."""


@dataclass(frozen=True)
class Bucket:
    """One bucket: boto3's client (safe in several threads), its name, its name in errors.

    ``parameters`` gives what the storage's settings want on a new object, by key.
    """

    client: Any
    name: str
    place: str
    parameters: Callable[[str], Parameters]

    def head(self, key: str, *, of_bucket: bool = True) -> Answer | None:
        """``ContentLength`` (bytes), ``ETag`` and more; None when the object is missing. Not asked
        ``of_bucket``, also when the bucket is: for who writes next and hears it then."""
        try:
            with plain_words(f"look up {key} in", self.place):
                return self._call("head_object", DATA_CALL, key)
        except StorageError as error:
            refused = error
            status = status_of(error.__cause__)
            if status not in (403, 404):
                raise
        if status == 404 and not of_bucket:
            return None
        # An answer to HEAD has no body, so a missing bucket looks like a missing object, and a wrong key like
        # a missing right; a listing tells.
        with plain_words(f"look up {key} in", self.place):
            # With the key as prefix, because a policy may allow the listing of some prefixes only.
            self.client.list_objects_v2(Bucket=self.name, Prefix=key, MaxKeys=1, **self._wanted(ANY_CALL))
        if status == 403:
            raise refused
        return None

    def put(self, key: str, body: BinaryIO, *, replace: bool) -> None:
        """Store an object at once. Unless it may replace, TakenError if the server says the key is taken."""
        with plain_words(f"write {key} to", self.place):
            self._create("put_object", key, replace, body, {"Body": body, **self.parameters(key)})

    def get(self, key: str, start: int = 0, etag: str = "") -> Answer:
        """The answer to GET, its ``Body`` yet to be read; from byte ``start`` of the version ``etag``."""
        condition = {"IfMatch": etag, "Range": f"bytes={start}-"} if start else {}
        try:
            with plain_words(f"read {key} from", self.place):
                return self._call("get_object", DATA_CALL, key, **condition)
        except StorageError as error:
            if not _is_missing(error):
                raise
            raise MissingObjectError(
                f"{key} is missing in {self.place}.", hint="See what is there with manage.py list_backups."
            ) from None

    def delete(self, key: str) -> None:
        """Remove an object; a missing one is fine."""
        try:
            with plain_words(f"delete {key} from", self.place):
                self._call("delete_object", ANY_CALL, key)
        except StorageError as error:
            if not _is_missing(error):  # Google's S3 answers so
                raise

    def objects(self, prefix: str) -> list[Stored]:
        """All objects whose keys start with ``prefix``, sorted, without the markers some tools make."""
        found = [
            Stored(entry["Key"], entry["Size"], entry["LastModified"].astimezone(UTC))
            for page in self._pages("list_objects_v2", Prefix=prefix)
            for entry in page.get("Contents", ())
            if not entry["Key"].endswith("/")
        ]
        # S3 sorts them, but its directory buckets and some other servers do not.
        return sorted(found, key=lambda stored: stored.key)

    def folders(self, prefix: str) -> list[str]:
        """What comes between ``prefix`` and the next slash, for the objects below."""
        return [
            entry["Prefix"][len(prefix) :].removesuffix("/")
            for page in self._pages("list_objects_v2", Prefix=prefix, Delimiter="/")
            for entry in page.get("CommonPrefixes", ())
        ]

    def begin(self, key: str) -> str:
        """Begin a multipart upload; its id."""
        with plain_words(f"write {key} to", self.place):
            answer = self.client.create_multipart_upload(Bucket=self.name, Key=key, **self.parameters(key))
        return str(answer["UploadId"])

    def send_part(self, key: str, upload_id: str, number: int, body: BinaryIO) -> Parameters:
        """Upload one part; what ``complete`` has to know of it."""
        with plain_words(f"write part {number} of {key} to", self.place):
            answer = self._call(
                "upload_part", PART_CALL, key, UploadId=upload_id, PartNumber=number, Body=body
            )
        part = {"PartNumber": number, "ETag": answer["ETag"]}
        algorithm = self.parameters(key).get("ChecksumAlgorithm", "")
        if checksum := answer.get(f"Checksum{algorithm}"):
            part[f"Checksum{algorithm}"] = checksum
        return part

    def complete(self, key: str, upload_id: str, parts: list[Parameters]) -> None:
        """Make the parts one object; TakenError if the server says that the key is taken by now."""
        given = {"UploadId": upload_id, "MultipartUpload": {"Parts": parts}, **self._wanted(DATA_CALL, key)}
        with plain_words(f"complete {key} in", self.place):
            self._create("complete_multipart_upload", key, False, None, given)

    def abort(self, key: str, upload_id: str) -> None:
        """Give an upload up and free its parts; one that is gone is fine."""
        try:
            with plain_words(f"abort the upload of {key} to", self.place):
                self._call("abort_multipart_upload", ANY_CALL, key, UploadId=upload_id)
        except StorageError as error:
            if code_of(error.__cause__) != "NoSuchUpload":
                raise

    def unfinished(self, prefix: str) -> list[UnfinishedUpload]:
        """Multipart uploads neither completed nor aborted."""
        try:
            return [
                UnfinishedUpload(entry["Key"], entry["UploadId"], entry["Initiated"].astimezone(UTC))
                for page in self._pages("list_multipart_uploads", Prefix=prefix)
                for entry in page.get("Uploads", ())
            ]
        except StorageError as error:
            # rclone answers NoSuchUpload when there is none; some servers cannot list them at all.
            if code_of(error.__cause__) == "NoSuchUpload" or status_of(error.__cause__) in (405, 501):
                return []
            raise

    def _pages(self, operation: str, **given: Any) -> Iterator[Answer]:
        with plain_words("list", self.place):
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
                        f"{key} is already in {self.place}.",
                        unchanged="It was left as it is.",
                        hint="Start the backup again: each run writes under names of its own.",
                    ) from error
                if status_of(error) != 501:  # servers that do not know the condition refuse it so
                    raise
                if body is not None:
                    body.seek(0)
        call(Bucket=self.name, Key=key, **given)


def _is_missing(error: StorageError) -> bool:
    return status_of(error.__cause__) == 404 and code_of(error.__cause__) != "NoSuchBucket"
