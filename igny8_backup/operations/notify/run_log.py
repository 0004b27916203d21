"""Log one line of JSON for each run, for programs that collect logs."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import datetime

from igny8_backup.common.clock import utc_now
from igny8_backup.operations.notify.alarms import Alarm
from igny8_backup.operations.notify.outcome import host_name

logger = logging.getLogger("igny8_backup.runs")
"""Logs at the level INFO, failures too: mails, notifications and exit statuses already report failures."""


def log_run(what: str, started: datetime, alarms: Sequence[Alarm], text: str) -> None:
    """Log that the command or task ``what`` has ended.

    ``alarms`` are the parts that failed, each with its reason; none after a success. ``text`` is the end of
    the output of a failed run, without secrets.
    """
    if not logger.isEnabledFor(logging.INFO):
        return
    line = {
        "command": what,
        "host": host_name(),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round((utc_now() - started).total_seconds(), 1),
        "ok": not alarms,
        "failed": [alarm._asdict() for alarm in alarms],
        "text": text,
    }
    logger.info("%s", json.dumps(line, ensure_ascii=False, sort_keys=True))
