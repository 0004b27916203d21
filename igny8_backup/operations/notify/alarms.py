"""The alarms of each command, and the memory of those that were mailed.

An alarm is a part of the work and the reason why it failed. A command remembers its alarms in a small file in
``STATE_DIR``, so that a run of one part neither repeats nor ends the alarm of another.
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
"""When an alarm is forgotten that no run repeats or ends: its tree or backup no longer exists."""


class Alarm(NamedTuple):
    """``part`` is the name of a tree, database, backup or condition, or empty for the run as a whole;
    ``reason`` is the kind of failure, without figures and paths."""

    part: str
    reason: str


Mailed = dict[Alarm, datetime]
"""When each alarm was mailed last."""


def recall(file: Path | None, now: datetime) -> Mailed:
    """Read the memory; empty if it is missing or damaged."""
    try:
        found = json.loads(file.read_bytes()) if file else {}
        if "sign" in found:  # written before alarms had parts
            found = {"alarms": [{"part": "", "reason": str(found["sign"]), "told": found["told"]}]}
        mailed = {
            Alarm(str(item["part"]), str(item["reason"])): datetime.fromisoformat(item["told"])
            for item in found["alarms"]
        }
        return {alarm: at for alarm, at in mailed.items() if now - at < FORGET_AFTER}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def remember(file: Path | None, mailed: Mapping[Alarm, datetime]) -> None:
    """Write the memory. If that fails, the next failure is mailed again."""
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
