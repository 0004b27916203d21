"""What S3 and the way to it answer, in plain words and without secrets."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager

import botocore.exceptions as boto
from urllib3.exceptions import HTTPError

from igny8_backup.errors import BackupError, IntegrityError, StorageError
from igny8_backup.store.base import SETTING, UnreachableError

# HTTPError covers urllib3's ReadTimeoutError and IncompleteRead, OSError reset connections and TLS trouble.
BROKEN = (
    boto.HTTPClientError,
    boto.ConnectionError,
    boto.IncompleteReadError,
    HTTPError,
    http.client.HTTPException,
    OSError,
)
CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.ProfileNotFound,
    boto.TokenRetrievalError,
)
REFUSED_KEYS = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "AuthorizationHeaderMalformed",
}
FULL = {"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "StorageQuotaExceeded", "507"}
RIGHTS = (
    "s3:ListBucket, s3:ListBucketMultipartUploads, s3:GetObject, s3:PutObject, s3:DeleteObject, "
    "s3:AbortMultipartUpload"
)


@contextmanager
def plain_words(doing: str, place: str) -> Iterator[None]:
    """Turn what boto3 and the network raise into a StorageError that says what could not be done where."""
    try:
        yield
    except (boto.BotoCoreError, boto.ClientError, ValueError, *BROKEN) as error:
        raise explain(error, doing, place) from error


def code_of(error: BaseException | None) -> str:
    """The error code an S3 answer carries, like ``NoSuchKey``; empty for anything else.

    HEAD answers have no body, so the code of a missing object is ``404`` there.
    """
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, boto.ClientError) else ""


def status_of(error: BaseException | None) -> int:
    """The HTTP status of an S3 error answer; 0 for anything else."""
    if not isinstance(error, boto.ClientError):
        return 0
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def explain(error: Exception, doing: str, place: str) -> BackupError:
    """The error in plain words. The texts of botocore are left out: answers of a server may echo anything."""
    start = f"Cannot {doing} {place}"
    if isinstance(error, boto.ClientError):
        return _explain_answer(code_of(error), status_of(error), start)
    if isinstance(error, boto.FlexibleChecksumError | boto.ChecksumError):
        return IntegrityError(
            f"What came from {place} does not match the checksum that the server sent along.",
            hint="Try again; if it happens again, restore from another backup.",
        )
    if isinstance(error, CREDENTIALS):
        return StorageError(
            f"{start}: there are no credentials.",
            hint=f"Set access_key and secret_key in OPTIONS of {SETTING}, or AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY in the environment.",
        )
    if isinstance(error, boto.SSLError):
        return UnreachableError(
            f"{start}: the certificate or TLS of the server was not accepted.",
            hint=f"Check endpoint_url and verify in OPTIONS of {SETTING}, and the clock of this machine.",
        )
    if isinstance(error, BROKEN):
        return UnreachableError(
            f"{start}: no answer, or the connection broke ({type(error).__name__}).",
            hint=f"Check the network, endpoint_url and region_name in OPTIONS of {SETTING}, and try again.",
        )
    return StorageError(
        f"{start}: boto3 refuses ({type(error).__name__}).", hint=f"Check OPTIONS of {SETTING}."
    )


def _explain_answer(code: str, status: int, start: str) -> StorageError:
    if code == "NoSuchBucket":
        return StorageError(
            f"{start}: the bucket does not exist.",
            hint=f"Create it, or correct bucket_name, region_name and endpoint_url in OPTIONS of {SETTING}.",
        )
    if code in REFUSED_KEYS:
        return StorageError(
            f"{start}: the credentials are wrong or have expired ({code}).",
            hint=f"Correct access_key and secret_key in OPTIONS of {SETTING}.",
        )
    if code in FULL or status == 507:
        return StorageError(
            f"{start}: no space is left there ({code}).",
            hint="Raise the quota, or delete backups that are no longer needed.",
        )
    if code == "RequestTimeTooSkewed":
        return StorageError(
            f"{start}: the clock of this machine is wrong.", hint="Set it, by NTP for example."
        )
    if status in (401, 403):
        return StorageError(f"{start}: access denied ({code}).", hint=f"Allow on the bucket: {RIGHTS}.")
    if status >= 500 or code in ("SlowDown", "RequestTimeout", "Throttling"):
        return UnreachableError(
            f"{start}: the server is in trouble ({code}, status {status}).", hint="Try again later."
        )
    return StorageError(
        f"{start}: the server answered {code} (status {status}).",
        hint=f"Look that code up in the documentation of the storage; check OPTIONS of {SETTING}.",
    )
