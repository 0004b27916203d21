"""A check for django-health-check 4: ``"igny8_backup.health.Backups"`` in the list of checks.

Nothing else imports django-health-check, which is optional.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from datetime import timedelta
from typing import ClassVar

from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable

from igny8_backup.common.humanize import count_in_words
from igny8_backup.errors import BackupError
from igny8_backup.operations.context import open_context
from igny8_backup.operations.monitor.run import monitor


@dataclasses.dataclass
class Backups(HealthCheck):  # type: ignore[misc]  # the library has no types
    """Check whether all conditions of ``monitor_backups`` are met.

    A health check runs every few seconds, so each process reads the storage at most once in ``max_age`` and
    repeats the result until then. The message names conditions only: no host, database, tree or storage.
    """

    max_age: timedelta = dataclasses.field(default=timedelta(minutes=5), repr=False)

    timeout = timedelta(seconds=60)
    _lock: ClassVar[threading.Lock] = threading.Lock()
    _found: ClassVar[tuple[float, str] | None] = None

    def run(self) -> None:
        """Raise ``ServiceUnavailable`` if a condition is not met, or the backups cannot be checked."""
        with self._lock:
            found = Backups._found
            if found is None or time.monotonic() - found[0] >= self.max_age.total_seconds():
                found = Backups._found = (time.monotonic(), _problem())
        if found[1]:
            raise ServiceUnavailable(found[1])


def _problem() -> str:
    """Return which conditions are not met, or ``""``."""
    try:
        with open_context(brief=True) as context:
            health = monitor(context)
    except BackupError as error:
        return f"The backups could not be checked: {type(error).__name__}. Run: manage.py monitor_backups."
    if not health.failed:
        return ""
    names = ", ".join(sorted({item.name for item in health.failed}))
    count = count_in_words(len(health.conditions), "condition")
    return f"{len(health.failed)} of {count} FAILED: {names}. Run: manage.py monitor_backups."
