"""Send a summary of the backups to the services in ``NOTIFY``, once a day or once a week.

If no message arrives, either all is well or nothing runs any more. A regular summary shows which is the case.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path

from django.utils import timezone

from igny8_backup.common.filesystem import replace_file
from igny8_backup.common.humanize import age_in_words, count_in_words, size_in_words
from igny8_backup.conf import SETTING, Config
from igny8_backup.conf.sections.notify import DAILY
from igny8_backup.errors import UsageError
from igny8_backup.operations.monitor.health import Health, PartCopy
from igny8_backup.operations.notify.message import SUMMARY, Message
from igny8_backup.operations.notify.outcome import report_delivery
from igny8_backup.operations.notify.redact import redacted
from igny8_backup.operations.notify.services import notify


def send_summary(config: Config, health: Health, *, now: bool = False) -> str:
    """Send a summary of ``health`` if one is due or ``now`` is true.

    The summary is due at the first call of a day or week, in the time zone of the project: see
    ``NOTIFY_SUMMARY``. Returns why a service did not get the summary, or ``""``. Raises :class:`UsageError`
    if ``now`` is true and ``NOTIFY`` names no service.
    """
    if now and not config.notify:
        raise UsageError(
            f"{SETTING}['NOTIFY'] names no service to send the summary to.",
            unchanged="Nothing was changed.",
            hint='Set it, as "Get alerts" in the documentation describes.',
        )
    file = config.state_dir / "summary.json"
    if not config.notify or not (now or _is_due(file, config.notify_summary, health.now)):
        return ""
    failed = len(health.failed)
    state = f"{count_in_words(failed, 'condition')} FAILED" if failed else "all is well"
    message = Message(SUMMARY, f"Backups on {config.host}: {state}", redacted("\n".join(_lines(health))))
    delivery = notify(message)
    if delivery.sent:
        with suppress(OSError):  # the next run then sends the summary again
            replace_file(file, json.dumps({"sent": health.now.isoformat()}).encode())
    unreported = report_delivery(delivery, health.now)
    return redacted(" ".join(filter(None, (delivery.problem, unreported))))


def _is_due(file: Path, every: str, now: datetime) -> bool:
    if not every:
        return False
    try:
        sent = datetime.fromisoformat(json.loads(file.read_bytes())["sent"])
        return _period(sent, every) != _period(now, every)
    except (OSError, ValueError, KeyError, TypeError):
        return True


def _period(moment: datetime, every: str) -> tuple[int, ...]:
    """Return the day, or the week as ISO 8601 counts it, to which ``moment`` belongs."""
    day: date = timezone.localtime(moment).date()
    return (day.toordinal(),) if every == DAILY else day.isocalendar()[:2]


def _lines(health: Health) -> Iterator[str]:
    for condition in health.failed:
        yield f"FAILED {condition.name}, {condition.of}: {condition.text}"
    if not health.failed:
        yield f"All {count_in_words(len(health.conditions), 'condition')} of monitor_backups hold."
    backups = count_in_words(health.backups or 0, "backup")
    yield f"{backups}, {size_in_words(health.stored_bytes or 0)} in storage."
    for copy in health.newest:
        yield _copy_line(copy, health.now)


def _copy_line(copy: PartCopy, now: datetime) -> str:
    verified = f"verified {age_in_words(copy.verified, now)} ago" if copy.verified else "not verified"
    drilled = f"drilled {age_in_words(copy.drilled, now)} ago" if copy.drilled else "not drilled"
    size = size_in_words(copy.bytes)
    return f"{copy.part}: backed up {age_in_words(copy.as_of, now)} ago ({size}), {verified}, {drilled}."
