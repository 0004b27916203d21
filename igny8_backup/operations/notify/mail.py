"""Mail ``ADMINS`` when a command fails, when it fails in another way, and when it works again.

The last failure of each command is remembered in a small file in ``STATE_DIR``, so that a command that runs
every hour does not send a mail every hour.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.core.mail import get_connection, mail_admins

from igny8_backup.conf import ConfigurationError, get_config
from igny8_backup.operations.notify.deadline import within

REPEAT_AFTER = timedelta(hours=20)
"""When the same failure is mailed again: a nightly failure every night, an hourly one once a day."""
LIMIT = 30.0
"""Seconds for a mail as a whole, from the connection to the answer of the mail server."""


def mail_failure(what: str, failure_key: str, text: str, now: datetime) -> str:
    """Mail that the command ``what`` failed, unless the same kind of failure was mailed recently.

    ``failure_key`` identifies the kind of failure. Returns why the mail could not be sent, or ``""``.
    """
    file = _memory_file(what)
    previous_key, mailed = _recall(file)
    if not settings.ADMINS or (previous_key == failure_key and mailed and now - mailed < REPEAT_AFTER):
        return ""
    if problem := _mail(f"{what} failed on {_host()}", text):
        return problem
    if file:
        _remember(file, failure_key, now)
    return ""


def mail_recovery(what: str, now: datetime) -> str:
    """Mail that the command ``what`` works again, if its failure was mailed.

    Returns as :func:`mail_failure` does.
    """
    file = _memory_file(what)
    _, mailed = _recall(file)
    if not (file and mailed):
        return ""
    text = f"{what} works again. Its last failure was mailed at {mailed.isoformat(timespec='seconds')}."
    if problem := _mail(f"{what} works again on {_host()}", text):
        return problem
    file.unlink(missing_ok=True)
    return ""


def _mail(subject: str, text: str) -> str:
    try:
        within(LIMIT, lambda: _send(subject, text))
    except Exception as error:  # mail backends raise any exception
        return f"No mail could be sent to ADMINS: {type(error).__name__}: {error}."
    return ""


def _send(subject: str, text: str) -> None:
    connection = get_connection()
    if getattr(connection, "timeout", LIMIT) is None:  # Django's SMTP backend without EMAIL_TIMEOUT
        setattr(connection, "timeout", 2 * LIMIT)  # noqa: B010  ends the thread of a mail that was given up
    mail_admins(subject, text, connection=connection)


def _host() -> str:
    try:
        return get_config().host
    except ConfigurationError:
        return socket.gethostname()


def _memory_file(what: str) -> Path | None:
    try:
        return get_config().state_dir / "failing" / f"{what}.json"
    except ConfigurationError:
        return None  # every failure is mailed


def _recall(file: Path | None) -> tuple[str, datetime | None]:
    """The failure key that was mailed last, and when."""
    try:
        found = json.loads(file.read_bytes()) if file else {}
        return str(found["sign"]), datetime.fromisoformat(found["told"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", None


def _remember(file: Path, failure_key: str, now: datetime) -> None:
    # If this fails, the next failure is mailed again.
    with suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = file.with_suffix(".new")
        with open(new, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as handle:
            json.dump({"sign": failure_key, "told": now.isoformat()}, handle)
        os.replace(new, file)
