"""Recognize temporary failures by error numbers, HTTP statuses and exception classes."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
from collections.abc import Iterator

ERRNOS = {
    errno.ESTALE,  # NFS: the server has another file under this handle; a new look-up helps
    errno.EIO,  # also what a soft NFS mount answers when its server does not
    errno.EREMOTEIO,
    errno.EAGAIN,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.ENETRESET,
    errno.ENOTCONN,  # FUSE: the process behind the mount has ended
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.EPIPE,
}
"""Error numbers (errno) after which a file system or a network may answer again."""

NEVER = {501, 505, 507}
"""HTTP statuses above 499 that say that a request is unsupported, or that no space is left."""
BUSY = {408, 425, 429}
"""HTTP statuses below 500 that ask to try again later."""

BROKEN = {
    "azure.core.exceptions.IncompleteReadError",
    "azure.core.exceptions.ServiceRequestError",
    "azure.core.exceptions.ServiceResponseError",
    "google.api_core.exceptions.RetryError",
    "google.auth.exceptions.TransportError",
    "paramiko.ssh_exception.NoValidConnectionsError",
    "paramiko.ssh_exception.SSHException",
    "requests.exceptions.ChunkedEncodingError",
    "requests.exceptions.ConnectionError",
    "requests.exceptions.Timeout",
    "urllib3.exceptions.HTTPError",
}
"""Exceptions of client libraries for connections that failed. They are named by their paths, because the
libraries need not be installed."""
BROKEN_HERE = (
    ConnectionError,
    TimeoutError,
    EOFError,
    socket.gaierror,
    ssl.SSLError,
    http.client.HTTPException,
)
"""Python's own exceptions for connections that failed."""
REFUSED = {
    "paramiko.ssh_exception.AuthenticationException",
    "paramiko.ssh_exception.BadHostKeyException",
}
"""Subclasses of the exceptions in ``BROKEN`` after which no later attempt succeeds."""


def status_may_pass(status: int) -> bool:
    """Return whether a request that was answered with this HTTP status may succeed later."""
    return status in BUSY or (status >= 500 and status not in NEVER)


def may_pass(error: BaseException) -> bool:
    """Return whether the operation that raised ``error`` may succeed later.

    ``error`` may come from any client library. If the error has an HTTP status, only the status decides.
    Otherwise the errors from which it was raised are examined as well.
    """
    status = http_status(error)
    if status:
        return status_may_pass(status)
    chain = list(causes(error))
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for item in chain for kind in type(item).__mro__}
    if kinds & REFUSED or certificate_refused(error):
        return False
    numbers = {item.errno for item in chain if isinstance(item, OSError)}
    return bool(numbers & ERRNOS or kinds & BROKEN or any(isinstance(item, BROKEN_HERE) for item in chain))


def certificate_refused(error: BaseException | None) -> bool:
    """Return whether a TLS certificate was refused: by the error or by one of its causes (``causes``)."""
    return any(isinstance(item, ssl.SSLCertVerificationError) for item in causes(error))


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, the errors that it was raised from, and the errors that it wraps."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        item = waiting.pop()
        if item is None or id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        wrapped = (*item.args, getattr(item, "reason", None), getattr(item, "inner_exception", None))
        waiting += [item.__cause__, *(inner for inner in wrapped if isinstance(inner, BaseException))]
        if not item.__suppress_context__:
            waiting.append(item.__context__)


def http_status(error: BaseException) -> int:
    """Return the HTTP status in an error of a client library; 0 if it has none."""
    response = getattr(error, "response", None)
    for source, name in (
        (error, "status_code"),
        (error, "code"),
        (error, "http_status"),
        (error, "status"),
        (response, "status_code"),
        (response, "status"),
    ):
        value = getattr(source, name, None)
        if isinstance(value, int) and 400 <= value < 600:
            return int(value)
    return 0
