"""Ping a monitoring service like Healthchecks: first ``URL/start``, then ``URL`` or ``URL/fail``."""

from __future__ import annotations

from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import SplitResult, urlsplit
from urllib.request import Request, urlopen

from igny8_backup.common.deadline import within
from igny8_backup.errors import UsageError

START, SUCCESS, FAIL = "start", "", "fail"
LIMIT = 10.0
"""Seconds for a ping as a whole, from the look-up of the host name to the end of the answer."""
MAX_BYTES = 10_000
"""The largest size of the message in a ping. Services store about this much."""


def check_url(url: str) -> None:
    """Raise :class:`UsageError` if ``url`` cannot be pinged."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        what = "The URL to ping is not a complete http:// or https:// URL."
        hint = "Give the complete URL, such as https://hc-ping.com/UUID."
        raise UsageError(what, unchanged="Nothing was read or written.", hint=hint)


def ping(url: str, word: str, message: str = "") -> str:
    """Send a ping; return why it failed, or ``""``. A failing ping must not fail the run.

    ``word`` is ``START``, ``SUCCESS`` or ``FAIL``. Only the last ``MAX_BYTES`` of ``message`` are sent. The
    returned text names only the host, because the rest of the URL is secret.
    """
    parts = urlsplit(url)
    path = "/".join(filter(None, (parts.path.rstrip("/"), word)))
    target = SplitResult(parts.scheme, parts.netloc, path, parts.query, "").geturl()
    data = message.encode(errors="replace")[-MAX_BYTES:] or None
    try:
        within(LIMIT, lambda: _request(target, data))
        return ""
    except HTTPError as error:
        with error:
            return f"The ping to {parts.hostname} failed: HTTP status {error.code}."
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        return f"The ping to {parts.hostname} failed: {reason}."


def _request(target: str, data: bytes | None) -> None:
    with urlopen(Request(target, data=data), timeout=2 * LIMIT):  # noqa: S310  (see check_url)
        pass
