"""The alarms of a command, and the record in ``STATE_DIR`` of the alarms that were mailed.

An alarm is a part of the work, such as a database, and the kind of its failure. Because alarms are recorded
for each part, a run that works on one part neither repeats nor ends the alarms of other parts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

FORGET_AFTER = timedelta(days=30)
"""The time after which an alarm is deleted that no run has repeated or ended, as its part no longer
exists."""


class Alarm(NamedTuple):
    """A part that failed, and the kind of its failure.

    ``part`` is the name of a tree, database, backup or condition, or empty for the complete run. ``reason``
    contains no numbers and paths, so that it is equal when the failure occurs again.
    """

    part: str
    reason: str


Mailed = dict[Alarm, datetime]
"""The time of the last mail about each alarm."""


def read_mailed(file: Path | None, now: datetime) -> Mailed:
    """Read from ``file`` which alarms were mailed already, and when.

    The result is empty if the file is missing or damaged. Alarms older than ``FORGET_AFTER`` are left out.
    """
    try:
        found = json.loads(file.read_bytes()) if file else {}
        if "sign" in found:  # written by a release without alarms for each part
            found = {"alarms": [{"part": "", "reason": str(found["sign"]), "told": found["told"]}]}
        mailed = {
            Alarm(str(item["part"]), str(item["reason"])): datetime.fromisoformat(item["told"])
            for item in found["alarms"]
        }
        return {alarm: at for alarm, at in mailed.items() if now - at < FORGET_AFTER}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def write_mailed(file: Path | None, mailed: Mapping[Alarm, datetime]) -> None:
    """Write the alarms that were mailed to ``file``. If this fails, the next failure is mailed again."""
    if file is None:
        return
    with suppress(OSError):
        if not mailed:
            file.unlink(missing_ok=True)
            return
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = file.with_suffix(".new")
        with open(new, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as handle:
            alarms = [{**alarm._asdict(), "told": at.isoformat()} for alarm, at in mailed.items()]
            json.dump({"alarms": alarms}, handle)
        os.replace(new, file)
