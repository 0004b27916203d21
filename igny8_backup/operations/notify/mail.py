"""Mail ``ADMINS`` when a command fails, when it fails for another reason, and when it works again.

The alarms that were mailed are recorded in ``STATE_DIR`` (see ``mailed_alarms``), so that a command that runs
every hour does not send a mail every hour.
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.core.mail import get_connection, mail_admins

from igny8_backup.conf import ConfigurationError, get_config
from igny8_backup.operations.notify.deadline import within
from igny8_backup.operations.notify.mailed_alarms import Alarm, read_mailed, write_mailed

REPEAT_AFTER = timedelta(hours=20)
"""The time after which the same failure is mailed again: every night for a nightly command, once a day for an
hourly one."""
LIMIT = 30.0
"""Seconds for sending a mail, from the connection to the answer of the mail server."""


def mail_outcome(
    what: str, alarms: Collection[Alarm], text: str, now: datetime, *, scope: Collection[str] | None = None
) -> str:
    """Mail ``ADMINS`` about new alarms (failures) of the command ``what``, and about those that ended.

    ``alarms`` is empty after a success; ``text`` is the body of the mail about a failure. ``scope`` are the
    parts that the run worked on (None for all); the recorded alarms of other parts do not change. Returns why
    a mail could not be sent, or ``""``.
    """
    if not settings.ADMINS:
        return ""
    file = _alarms_file(what)
    mailed = read_mailed(file, now)
    recorded = dict(mailed)
    failing = {alarm.part for alarm in alarms}
    ended = {
        alarm: at
        for alarm, at in mailed.items()
        if alarm.part not in failing and (scope is None or alarm.part in {"", *scope})
    }
    problems = []
    if any(alarm not in mailed or now - mailed[alarm] >= REPEAT_AFTER for alarm in alarms):
        problem = _mail(f"{what} failed on {_host()}", text)
        problems.append(problem)
        if not problem:
            mailed.update(dict.fromkeys(alarms, now))
    if ended:
        problem = _mail(f"{what} works again on {_host()}", _recovery_text(what, ended))
        problems.append(problem)
        if not problem:
            mailed = {alarm: at for alarm, at in mailed.items() if alarm not in ended}
    if mailed != recorded:
        write_mailed(file, mailed)
    return next(filter(None, problems), "")


def _recovery_text(what: str, ended: Mapping[Alarm, datetime]) -> str:
    last = max(ended.values()).isoformat(timespec="seconds")
    parts = ", ".join(sorted({alarm.part for alarm in ended} - {""}))
    of = f" for {parts}" if parts else ""
    return f"{what} works again{of}. Its last failure was mailed at {last}."


def _mail(subject: str, text: str) -> str:
    try:
        within(LIMIT, lambda: _send(subject, text))
    except Exception as error:  # mail backends raise any exception
        return f"No mail could be sent to ADMINS: {type(error).__name__}: {error}."
    return ""


def _send(subject: str, text: str) -> None:
    connection = get_connection()
    if getattr(connection, "timeout", LIMIT) is None:  # Django's SMTP backend without EMAIL_TIMEOUT
        setattr(connection, "timeout", 2 * LIMIT)  # noqa: B010  so that the thread ends after within() has given up
    mail_admins(subject, text, connection=connection)


def _host() -> str:
    try:
        return get_config().host
    except ConfigurationError:
        return socket.gethostname()


def _alarms_file(what: str) -> Path | None:
    try:
        return get_config().state_dir / "failing" / f"{what}.json"
    except ConfigurationError:
        return None  # without STATE_DIR every failure is mailed
