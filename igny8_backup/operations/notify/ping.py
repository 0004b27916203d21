"""Pings in the style of healthchecks: ``URL/start``, then ``URL``, or ``URL/fail`` with what went wrong."""

from __future__ import annotations

from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import SplitResult, urlsplit
from urllib.request import Request, urlopen

from igny8_backup.errors import UsageError

START, SUCCESS, FAIL = "start", "", "fail"
SECONDS = 10.0
MOST_BYTES = 10_000
"""Of a message; services keep about so much."""


def check_url(url: str) -> None:
    """Raises :class:`UsageError` for what cannot be pinged."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(
            "What to ping is no URL that begins with http:// or https://.",
            unchanged="Nothing was read or written.",
            hint="Give the whole URL, as https://hc-ping.com/UUID.",
        )


def ping(url: str, word: str, message: str = "") -> str:
    """Sends ``word`` and a message, of which the end is kept. Returns why it failed, or nothing: a ping that
    fails is no reason to fail. Only the host is told; the rest of the URL is as good as a password.
    """
    parts = urlsplit(url)
    path = "/".join(filter(None, (parts.path.rstrip("/"), word)))
    target = SplitResult(parts.scheme, parts.netloc, path, parts.query, "").geturl()
    data = message.encode(errors="replace")[-MOST_BYTES:] or None
    try:
        with urlopen(Request(target, data=data), timeout=SECONDS):  # noqa: S310  (see check_url)
            return ""
    except HTTPError as error:
        with error:
            return f"The ping to {parts.hostname} failed: HTTP status {error.code}."
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        return f"The ping to {parts.hostname} failed: {reason}."
