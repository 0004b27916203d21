"""Say in words what happened to a connection to a storage: :func:`connection_failure`."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterable
from urllib.parse import urlsplit

from igny8_backup.store.transient import ERRNOS, causes, certificate_refused, http_status


def connection_failure(error: BaseException) -> str:
    """Say which server failed and how, as in "127.0.0.1:9000 refused the connection".

    The result is empty if no connection failed, or if the kind of failure is unknown. The text of ``error``
    is not used, because it may contain a URL with a password.
    """
    if http_status(error):
        return ""
    chain = list(causes(error))
    server = _server(chain) or "the server"
    if certificate_refused(error):
        return f"the certificate of {server} was not accepted"
    # The innermost errors come last. They are the most exact.
    return next((text for item in reversed(chain) if (text := _in_words(item, server))), "")


def _in_words(error: BaseException, server: str) -> str:
    if isinstance(error, socket.gaierror):
        return f"the host name {server.partition(':')[0]} cannot be resolved"
    if isinstance(error, ConnectionRefusedError):
        return f"{server} refused the connection"
    if isinstance(error, TimeoutError):
        return f"{server} did not answer in time"
    if isinstance(error, ssl.SSLError):
        return f"the encrypted connection to {server} failed"
    if type(error) in (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, EOFError):
        return f"{server} closed the connection"
    if isinstance(error, http.client.HTTPException):  # RemoteDisconnected, IncompleteRead
        return f"{server} closed the connection"
    if isinstance(error, OSError) and error.errno in ERRNOS and error.strerror:
        return f"{error.strerror}: {server}"
    return ""


def _server(errors: Iterable[BaseException]) -> str:
    """Return the host and port of the failed connection; empty if the client library does not record them."""
    for error in errors:
        for name in ("conn", "pool"):  # looked up in the instance, because a property of urllib3 warns
            connection = vars(error).get(name)
            if host := getattr(connection, "host", None):
                port = getattr(connection, "port", None)
                return f"{host}:{port}" if port else str(host)
        url = urlsplit(_address(error))
        if url.hostname:
            return f"{url.hostname}:{url.port}" if url.port else url.hostname
    return ""


def _address(error: BaseException) -> str:
    """Return the URL that an error of requests or botocore has; empty for other errors."""
    request = getattr(vars(error).get("request"), "url", "")
    values = vars(error).get("kwargs")  # of botocore
    if request or not isinstance(values, dict):
        return str(request)
    return str(values.get("proxy_url") or values.get("endpoint_url") or "")
