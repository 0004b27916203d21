"""Translate errors of S3 and of the network into ``StorageError``, without secrets."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager

import botocore.exceptions as boto
from urllib3.exceptions import HTTPError

from igny8_backup.errors import BackupError, IntegrityError, StorageError
from igny8_backup.store.base import SETTING, UnreachableError

# HTTPError includes urllib3's ReadTimeoutError and IncompleteRead; OSError includes resets and TLS errors.
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
def translated_errors(action: str, place: str) -> Iterator[None]:
    """Raise errors of boto3 and the network as ``StorageError``: "Cannot ``action`` ``place``: ..."."""
    try:
        yield
    except (boto.BotoCoreError, boto.ClientError, ValueError, *BROKEN) as error:
        raise explain(error, action, place) from error


def code_of(error: BaseException | None) -> str:
    """Return the error code of an S3 answer, such as ``NoSuchKey``; empty for other errors.

    Answers to HEAD have no body, so their code is the HTTP status, such as ``404``.
    """
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, boto.ClientError) else ""


def status_of(error: BaseException | None) -> int:
    """Return the HTTP status of an S3 error answer; 0 for other errors."""
    if not isinstance(error, boto.ClientError):
        return 0
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def explain(error: Exception, action: str, place: str) -> BackupError:
    """Return the translation of ``error``, without the text of botocore, which may contain secrets."""
    if isinstance(error, boto.FlexibleChecksumError | boto.ChecksumError):
        return IntegrityError(
            f"Data from {place} does not match the checksum that the server sent.",
            hint="Try again. If it fails again, use another backup (list_backups).",
        )
    kind: type[StorageError] = StorageError
    if isinstance(error, boto.ClientError):
        kind, reason, hint = _explain_answer(code_of(error), status_of(error))
    elif isinstance(error, CREDENTIALS):
        reason = "there are no credentials"
        hint = (
            f"Set access_key and secret_key in OPTIONS of {SETTING}, or AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY in the environment."
        )
    elif isinstance(error, boto.SSLError):
        kind, reason = UnreachableError, "the certificate or TLS of the server was not accepted"
        hint = f"Check endpoint_url and verify in OPTIONS of {SETTING}, and the clock of this machine."
    elif isinstance(error, BROKEN):
        kind, reason = UnreachableError, f"no answer, or the connection broke ({type(error).__name__})"
        hint = f"Check the network, endpoint_url and region_name in OPTIONS of {SETTING}, and try again."
    else:
        reason, hint = f"boto3 refuses the settings ({type(error).__name__})", f"Check OPTIONS of {SETTING}."
    return kind(f"Cannot {action} {place}: {reason}.", hint=hint)


def _explain_answer(code: str, status: int) -> tuple[type[StorageError], str, str]:
    """Return the class of the error, the reason and the hint for an error answer of S3."""
    kind: type[StorageError] = StorageError
    if code == "NoSuchBucket":
        reason = "the bucket does not exist"
        hint = f"Create it, or correct bucket_name, region_name and endpoint_url in OPTIONS of {SETTING}."
    elif code in REFUSED_KEYS:
        reason = f"the credentials are wrong or have expired ({code})"
        hint = f"Correct access_key and secret_key in OPTIONS of {SETTING}."
    elif code in FULL or status == 507:
        reason = f"the storage has no free space ({code})"
        hint = "Raise the quota, or delete backups that are no longer needed."
    elif code == "RequestTimeTooSkewed":
        reason, hint = "the clock of this machine is wrong", "Set the clock, for example with NTP."
    elif status in (401, 403):
        reason, hint = f"access denied ({code})", f"Allow on the bucket: {RIGHTS}."
    elif status >= 500 or code in ("SlowDown", "RequestTimeout", "Throttling"):
        kind, hint = UnreachableError, "Try again later."
        reason = f"the server reports an error of its own ({code}, status {status})"
    else:
        reason = f"the server answered {code} (status {status})"
        hint = f"Look up the code in the documentation of the storage, and check OPTIONS of {SETTING}."
    return kind, reason, hint
