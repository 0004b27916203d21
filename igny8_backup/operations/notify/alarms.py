"""The alarms of a command, and the record in ``STATE_DIR`` of the alarms that were sent.

An alarm is a part of the work, such as a database, and the kind of its failure. Because alarms are recorded
for each part, a run that works on one part neither repeats nor ends the alarms of other parts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from igny8_backup.common.filesystem import replace_file

FORGET_AFTER = timedelta(days=30)
"""An alarm whose last message is older than this is deleted: the part that failed no longer exists."""


class Alarm(NamedTuple):
    """A part that failed, and the kind of its failure.

    ``part`` is the name of a tree, database, backup or condition, or empty for the complete run. ``reason``
    contains no numbers and paths, so that it is equal when the failure occurs again.
    """

    part: str
    reason: str


SentAlarms = dict[Alarm, datetime]
"""The time of the last message about each alarm."""


def read_sent(file: Path | None, now: datetime) -> SentAlarms:
    """Read from ``file`` which alarms were sent already, and when.

    The result is empty if the file is missing or damaged. Alarms older than ``FORGET_AFTER`` are left out.
    """
    try:
        found = json.loads(file.read_bytes()) if file else {}
        if "sign" in found:  # written by a release without alarms for each part
            found = {"alarms": [{"part": "", "reason": str(found["sign"]), "told": found["told"]}]}
        sent = {
            Alarm(str(item["part"]), str(item["reason"])): datetime.fromisoformat(item["told"])
            for item in found["alarms"]
        }
        return {alarm: at for alarm, at in sent.items() if now - at < FORGET_AFTER}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def write_sent(file: Path | None, sent: Mapping[Alarm, datetime]) -> None:
    """Write to ``file`` which alarms were sent. If this fails, the next run sends the alarms again."""
    if file is None:
        return
    with suppress(OSError):
        if not sent:
            file.unlink(missing_ok=True)
            return
        alarms = [{**alarm._asdict(), "told": at.isoformat()} for alarm, at in sent.items()]
        replace_file(file, json.dumps({"alarms": alarms}).encode())
