"""Translate errors of S3 and of the network into ``StorageError``, without secrets."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager

import botocore.exceptions as boto
from urllib3.exceptions import HTTPError

from igny8_backup.errors import BackupError, IntegrityError, StorageError
from igny8_backup.store.connection_failure import connection_failure
from igny8_backup.store.objects import SETTING, UnreachableError
from igny8_backup.store.s3.requests.advice import explain_answer
from igny8_backup.store.transient import certificate_refused

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
    boto.ProfileNotFound,
    boto.TokenRetrievalError,
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
        passing, reason, hint = explain_answer(
            code_of(error), status_of(error), error.operation_name, _region(error)
        )
        kind = UnreachableError if passing else StorageError
    elif isinstance(error, CREDENTIALS):
        reason = "there are no credentials"
        hint = (
            f"Set access_key and secret_key in OPTIONS of {SETTING}, or AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY in the environment."
        )
    elif isinstance(error, boto.CredentialRetrievalError):
        kind, reason = UnreachableError, "the service that issues credentials did not answer"
        hint = f"Check the role of this machine, or set access_key and secret_key in OPTIONS of {SETTING}."
    elif certificate_refused(error):
        reason = connection_failure(error)
        hint = f"Check endpoint_url and verify in OPTIONS of {SETTING}, and the clock of this machine."
    elif isinstance(error, BROKEN):
        kind, reason = UnreachableError, _how_it_broke(error)
        hint = f"Check the network, endpoint_url and region_name in OPTIONS of {SETTING}, and try again."
    else:
        reason, hint = f"boto3 refuses the settings ({type(error).__name__})", f"Check OPTIONS of {SETTING}."
    return kind(f"Cannot {action} {place}: {reason}.", hint=hint)


def _how_it_broke(error: Exception) -> str:
    """Say in words what happened to a connection. ``error`` is one of ``BROKEN``."""
    if isinstance(error, boto.IncompleteReadError):  # botocore itself counts the bytes, so there is no cause
        return "the server closed the connection in the middle of an answer"
    return connection_failure(error) or f"no answer, or the connection broke ({type(error).__name__})"


def _region(error: boto.ClientError) -> str:
    """Return the region of the bucket if the error answer names it, else an empty string."""
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    named = error.response.get("Error", {}).get("Region") or headers.get("x-amz-bucket-region") or ""
    return str(named) if str(named).replace("-", "").isalnum() else ""
