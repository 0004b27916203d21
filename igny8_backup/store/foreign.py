"""Translate the errors of client libraries other than boto3 into ``StorageError``, without their texts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from igny8_backup.common.outside import is_from_outside
from igny8_backup.errors import BackupError, StorageError
from igny8_backup.store.connection_failure import connection_failure
from igny8_backup.store.objects import SETTING, UnreachableError
from igny8_backup.store.transient import http_status, may_pass


@contextmanager
def translated_errors(action: str, place: str) -> Iterator[None]:
    """Raise every error as ``StorageError``: "Cannot ``action`` ``place``: ...".

    A ``BackupError`` passes through unchanged.

    The text of an error is not used, because it may contain a URL with a password.
    """
    try:
        yield
    except BackupError:
        raise
    except Exception as error:
        if is_from_outside(error):
            raise
        kind = UnreachableError if may_pass(error) else StorageError
        network = "the network and " if kind is UnreachableError else ""
        raise kind(
            f"Cannot {action} {place}: {reason_of(error)}.",
            hint=f"Check {network}{SETTING}, and try the same storage in manage.py shell.",
        ) from error


def reason_of(error: Exception) -> str:
    """Return the reason in a few words.

    It is the error code of a service, the operating system's message, or what happened to the connection.
    """
    code = getattr(error, "error_code", None)  # Azure
    if code:
        return str(getattr(code, "value", code))
    status = http_status(error)
    if status:
        return f"{type(error).__name__}, status {status}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return connection_failure(error) or type(error).__name__
