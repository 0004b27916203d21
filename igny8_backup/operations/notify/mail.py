"""Mail to ``ADMINS``: when something fails, when it fails in another way, and when it works again.

What failed last is remembered in ``STATE_DIR``, one small file for each command, so that what runs every hour
does not mail every hour.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.core.mail import mail_admins

from igny8_backup.conf import ConfigurationError, get_config

AGAIN = timedelta(hours=20)
"""What fails in the same way is mailed again after so long: every night, not every hour."""


def mail_failure(what: str, failure_key: str, text: str, now: datetime) -> str:
    """Mails that ``what`` failed; ``failure_key`` tells one kind of failure from another. Returns why no mail could
    be sent, or nothing."""
    memory = _memory(what)
    sign_then, told = _recall(memory)
    if not settings.ADMINS or (sign_then == failure_key and told and now - told < AGAIN):
        return ""
    if problem := _mail(f"{what} failed on {_host()}", text):
        return problem
    if memory:
        _remember(memory, failure_key, now)
    return ""


def mail_recovery(what: str, now: datetime) -> str:
    """Mails that ``what`` works again, where its failure was mailed. Returns as :func:`mail_failure`."""
    memory = _memory(what)
    _, told = _recall(memory)
    if not (memory and told):
        return ""
    text = f"It failed last at {told.isoformat(timespec='seconds')}, as far as was mailed."
    if problem := _mail(f"{what} works again on {_host()}", text):
        return problem
    memory.unlink(missing_ok=True)
    return ""


def _mail(subject: str, text: str) -> str:
    try:
        mail_admins(subject, text)
    except Exception as error:  # a mail backend raises what it likes
        return f"No mail could be sent to ADMINS: {type(error).__name__}: {error}."
    return ""


def _host() -> str:
    try:
        return get_config().host
    except ConfigurationError:
        return socket.gethostname()


def _memory(what: str) -> Path | None:
    try:
        return get_config().state_dir / "failing" / f"{what}.json"
    except ConfigurationError:
        return None  # then every failure is mailed


def _recall(memory: Path | None) -> tuple[str, datetime | None]:
    try:
        found = json.loads(memory.read_bytes()) if memory else {}
        return str(found["sign"]), datetime.fromisoformat(found["told"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", None


def _remember(memory: Path, failure_key: str, now: datetime) -> None:
    # Where the state folder cannot be used, the next failure is mailed too.
    with suppress(OSError):
        memory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = memory.with_suffix(".new")
        with open(new, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            json.dump({"sign": failure_key, "told": now.isoformat()}, file)
        os.replace(new, memory)
