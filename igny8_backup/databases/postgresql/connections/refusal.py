"""Find out with which SQLSTATE a server refuses connections.

For a connection that fails, psycopg and psycopg2 have no SQLSTATE, only the text, which is in the language of
the server. libpq can report the code instead of the text (``PQsetErrorVerbosity``), but no driver offers
that. So this module calls the libpq that the driver has loaded. Source: PostgreSQL docs, libpq.
"""

from __future__ import annotations

import ctypes
import re
import select
import time
from collections.abc import Mapping
from typing import Any

from igny8_backup.databases.quoting import conninfo

SECONDS = 10
"""Time limit in seconds for the connection that is tried."""

_FAILED, _READING, _OK = 0, 1, 3  # PostgresPollingStatusType
_ONLY_SQLSTATE = 3  # PGVerbosity
_LIBPQ = re.compile(r"(/\S*/libpq[-.][^/\s]*)$", re.MULTILINE)
_CODE = re.compile(r":  ([0-9A-Z]{5})$", re.MULTILINE)


def is_of_server(message: str) -> bool:
    """Return whether ``message``, the text of a driver's exception, comes from a server.

    libpq puts two spaces after the severity in a message from a server.
    """
    return ":  " in message


def sqlstate_of_refusal(parameters: Mapping[str, object]) -> str:
    """Connect with these parameters of libpq once more; return the SQLSTATE of the refusal.

    Returns an empty text if the server accepts the connection now or does not answer in time, or if the libpq
    of the driver is not found.
    """
    library = _library()
    if library is None:
        return ""
    attempt = library.PQconnectStart(conninfo(parameters).encode())
    if not attempt:
        return ""
    try:
        library.PQsetErrorVerbosity(attempt, _ONLY_SQLSTATE)
        if not _is_refused(library, attempt):
            return ""
        message: bytes = library.PQerrorMessage(attempt)
        codes: list[str] = _CODE.findall(message.decode(errors="replace"))
        return codes[-1] if codes else ""
    finally:
        library.PQfinish(attempt)


def _is_refused(library: Any, attempt: int) -> bool:
    end = time.monotonic() + SECONDS
    wanted = select.POLLOUT
    while (left := end - time.monotonic()) > 0:
        socket = library.PQsocket(attempt)
        if socket >= 0:  # it may be another one after each step
            poll = select.poll()
            poll.register(socket, wanted)
            if not poll.poll(left * 1000):
                return False
        state = library.PQconnectPoll(attempt)
        if state in (_FAILED, _OK):
            return bool(state == _FAILED)
        wanted = select.POLLIN if state == _READING else select.POLLOUT
    return False


def _library() -> Any:
    """Return the libpq that the driver has loaded into this process, or ``None`` if it cannot be found."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
            found = _LIBPQ.search(file.read())
        if found is None:
            return None
        library = ctypes.CDLL(found[1])
        for name in ("PQconnectStart", "PQsocket", "PQconnectPoll", "PQsetErrorVerbosity", "PQerrorMessage"):
            getattr(library, name).argtypes = [ctypes.c_void_p]
        library.PQconnectStart.argtypes = [ctypes.c_char_p]
        library.PQconnectStart.restype = ctypes.c_void_p
        library.PQsetErrorVerbosity.argtypes = [ctypes.c_void_p, ctypes.c_int]
        library.PQerrorMessage.restype = ctypes.c_char_p
        library.PQfinish.argtypes, library.PQfinish.restype = [ctypes.c_void_p], None
    except (OSError, AttributeError):
        return None
    return library
