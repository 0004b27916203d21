"""The requests that backups send to one S3 bucket, repeated where that may help, with errors translated.

Each request includes those settings of the storage that S3 accepts for it, such as encryption with a
customer's key, requester pays, or the expected owner of the bucket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any, BinaryIO, TypeAlias

from igny8_backup.common.deadline import within
from igny8_backup.errors import StorageError
from igny8_backup.store.objects import Stored, UnfinishedUpload, exists_error, missing_error
from igny8_backup.store.retry import SLOWEST, Retry
from igny8_backup.store.s3.requests.body import Body
from igny8_backup.store.s3.requests.checksums import Checksums, altered
from igny8_backup.store.s3.requests.errors import code_of, status_of, translated_errors
from igny8_backup.store.s3.requests.listing import OBJECTS, UPLOADS, Listing, contents
from igny8_backup.streams.stop import Stop

Answer: TypeAlias = dict[str, Any]
Parameters: TypeAlias = dict[str, Any]

ANY_CALL = {"RequestPayer", "ExpectedBucketOwner"}
DATA_CALL = {"SSECustomerAlgorithm", "SSECustomerKey", "SSECustomerKeyMD5", *ANY_CALL}
PART_CALL = {"ChecksumAlgorithm", *DATA_CALL}


@dataclass(frozen=True)
class Bucket:
    """The requests on one bucket.

    ``client`` is the boto3 client (thread-safe) and ``place`` describes the bucket in error messages.
    ``parameters`` returns the storage's parameters for a new object with a given key. ``retry`` repeats the
    requests, until ``stop`` is set. ``written`` maps each key that was written to the id of its version, or
    to ``""`` if the bucket keeps no versions. ``checksums`` checks the checksums in answers to uploads.
    """

    client: Any
    name: str
    place: str
    parameters: Callable[[str], Parameters]
    retry: Retry
    stop: Stop | None = None
    written: dict[str, str] = field(default_factory=dict)
    checksums: Checksums = field(default_factory=Checksums)

    def head(self, key: str, *, of_bucket: bool = True) -> Answer | None:
        """Return ``ContentLength`` (bytes), ``ETag`` and more, or ``None`` if the object is missing.

        With ``of_bucket``, a second request finds out whether the bucket is missing, which raises
        ``StorageError``. Without it, a missing bucket gives ``None`` too; a later write reports it.
        """
        try:
            return self.call(f"look up {key} in", "head_object", DATA_CALL, key)
        except StorageError as error:
            status = status_of(error.__cause__)
            if not 300 <= status < 500:
                raise
            if status == 404 and not of_bucket:
                return None
            # The answer to HEAD has no body, so its status means one of several errors: a missing bucket or
            # object, wrong or expired credentials, another region. The answer to a listing has the error
            # code. The key is the prefix, because a policy may allow listing for some prefixes only.
            given = {"Prefix": key, "MaxKeys": 1, **self._wanted(ANY_CALL)}
            self.request(f"look up {key} in", "list_objects_v2", **given)
            if status != 404:
                raise
            return None

    def put(self, key: str, body: BinaryIO, *, replace: bool) -> Answer:
        """Store an object in one request, note its version in ``written``, and return the answer.

        Raises ``ObjectExistsError`` if the key exists and ``replace`` is false.
        """
        return self._create(f"write {key} to", "put_object", key, replace, body, **self.parameters(key))

    def get(
        self, key: str, start: int = 0, etag: str = "", version: str = "", end: int | None = None
    ) -> Answer:
        """Return the answer to GET, with a ``Body`` that the caller reads and closes.

        With ``start``, the body begins at that byte, and the request fails unless the object still has the
        ETag ``etag``. With ``end`` too, it ends before that byte. ``version`` is the id of a version, empty
        for the current one. Raises ``MissingObjectError``.
        """
        last = "" if end is None else end - 1
        condition = {"IfMatch": etag, "Range": f"bytes={start}-{last}"} if start else {}
        condition |= {"VersionId": version} if version else {}
        try:
            return self.call(f"read {key} from", "get_object", DATA_CALL, key, None, **condition)
        except StorageError as error:
            if not _is_missing(error):
                raise
            raise missing_error(key, self.place) from None

    def delete(self, key: str, version: str = "") -> None:
        """Delete an object, or only the version with the id ``version``. A missing object is no error."""
        given: Parameters = {"VersionId": version} if version else {}
        try:
            self.call(f"delete {key} from", "delete_object", ANY_CALL, key, **given)
        except StorageError as error:
            if not _is_missing(error):  # Google Cloud Storage answers 404 for a missing object
                raise

    def objects(self, prefix: str) -> list[Stored]:
        """Return all objects whose keys start with ``prefix``, sorted by key.

        Keys that end with a slash are omitted: other tools create such objects as folders.
        """
        found = [item for page in self.pages(OBJECTS, Prefix=prefix) for item in contents(page)]
        # S3 directory buckets and some other servers return objects in any order.
        return sorted(found, key=lambda stored: stored.key)

    def level(self, prefix: str) -> tuple[list[Stored], list[str]]:
        """Return the objects directly in ``prefix``, and the names of the folders in it.

        The name of a folder is the part of each key between ``prefix`` and the next slash.
        """
        objects, folders = list[Stored](), list[str]()
        for page in self.pages(OBJECTS, Prefix=prefix, Delimiter="/"):
            objects += contents(page)
            found = (entry["Prefix"] for entry in page.get("CommonPrefixes", ()))
            folders += (name[len(prefix) :].removesuffix("/") for name in found)
        return objects, folders

    def begin(self, key: str) -> str:
        """Begin a multipart upload and return its id."""
        answer = self.request(f"write {key} to", "create_multipart_upload", Key=key, **self.parameters(key))
        return str(answer["UploadId"])

    def send_part(self, key: str, upload_id: str, number: int, body: BinaryIO) -> Parameters:
        """Upload a part; return its entry for ``complete``. Raises ``IntegrityError`` if bytes changed."""
        action, given = f"write part {number} of {key} to", {"PartNumber": number, "UploadId": upload_id}
        answer = self.call(action, "upload_part", PART_CALL, key, body=body, **given)
        if self.checksums.fit(answer, body) is False and self.checksums.etags_are_md5:
            raise altered(key, self.place, unchanged="The upload was aborted.")
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
            self.call(action, "abort_multipart_upload", ANY_CALL, key, UploadId=upload_id)
        except StorageError as error:
            if code_of(error.__cause__) != "NoSuchUpload":
                raise

    def unfinished(self, prefix: str) -> list[UnfinishedUpload]:
        """Return the multipart uploads that were neither completed nor aborted."""
        try:
            return [
                UnfinishedUpload(entry["Key"], entry["UploadId"], entry["Initiated"].astimezone(UTC))
                for page in self.pages(UPLOADS, Prefix=prefix)
                for entry in page.get("Uploads", ())
            ]
        except StorageError as error:
            # rclone answers NoSuchUpload if there is no upload; some servers do not support the request.
            if code_of(error.__cause__) == "NoSuchUpload" or status_of(error.__cause__) in (405, 501):
                return []
            raise

    def ask(self, operation: str) -> Answer:
        """Send a request about the bucket itself, such as ``get_bucket_acl``, and return the answer."""
        wanted = self._wanted({"ExpectedBucketOwner"})
        return self.request("examine", operation, **wanted)

    def pages(self, listing: Listing, **given: Any) -> Iterator[Answer]:
        """Yield the pages of a listing. A page that fails is requested again, not the pages before it."""
        position: Parameters | None = {}
        while position is not None:
            page = self.request("list", listing.operation, **self._wanted(ANY_CALL), **given, **position)
            yield page
            position = listing.next_position(page, position, self.place)

    def _wanted(self, known: set[str], key: str = "") -> Parameters:
        return {name: value for name, value in self.parameters(key).items() if name in known}

    def call(
        self,
        action: str,
        operation: str,
        known: set[str],
        key: str,
        body: BinaryIO | None = None,
        **given: Any,
    ) -> Answer:
        """Send a request about ``key``. Of the storage's settings, add those whose names are in ``known``."""
        return self.request(action, operation, body, Key=key, **self._wanted(known, key), **given)

    def _create(
        self, action: str, operation: str, key: str, replace: bool, body: BinaryIO | None = None, **given: Any
    ) -> Answer:
        """Send a request that creates an object. Fails if the key exists, unless ``replace`` is true."""
        condition = {} if replace else {"IfNoneMatch": "*"}
        attempts = 0

        def attempt() -> Answer:
            nonlocal condition, attempts
            attempts += 1
            try:
                answer = self._send(action, operation, body, Key=key, **given, **condition)
            except StorageError as error:
                if status_of(error.__cause__) == 412:
                    exists = exists_error(key, self.place)
                    exists.repeated = attempts > 1
                    raise exists from error
                # 501: the server does not support the condition.
                if not condition or status_of(error.__cause__) != 501:
                    raise
                condition = {}
                answer = self._send(action, operation, body, Key=key, **given)
            self.written[key] = answer.get("VersionId", "")
            return answer

        return self.retry.call(attempt, stop=self.stop)

    def request(self, action: str, operation: str, body: BinaryIO | None = None, **given: Any) -> Answer:
        """Send a request as :meth:`_send` does, and repeat it as long as ``retry`` permits."""
        return self.retry.call(lambda: self._send(action, operation, body, **given), stop=self.stop)

    def _send(self, action: str, operation: str, body: BinaryIO | None = None, **given: Any) -> Answer:
        """Call the client's method ``operation`` once; ``action`` describes the request in errors."""
        with translated_errors(action, self.place):
            call, limit = getattr(self.client, operation), self.retry.answer_seconds
            if body is None:
                return within(limit, lambda: call(Bucket=self.name, **given), name="s3-request")
            with Body(body) as sent:
                limit += sent.size / SLOWEST
                return within(limit, lambda: call(Bucket=self.name, Body=sent, **given), name="s3-request")


def _is_missing(error: StorageError) -> bool:
    return status_of(error.__cause__) == 404 and code_of(error.__cause__) != "NoSuchBucket"
