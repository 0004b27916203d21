"""A ready Celery beat schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery.schedules import crontab

_HOUR = 3600
_NO_PINGS: Mapping[str, str] = {}


def beat_schedule(
    *, hour: int = 1, minute: int = 15, logs: bool = False, pings: Mapping[str, str] = _NO_PINGS
) -> dict[str, Any]:
    """Entries for ``CELERY_BEAT_SCHEDULE``: ``backup_all`` every night at ``hour``:``minute``,
    ``prune_backups`` three hours later, ``verify_backup`` on Sunday, five hours later, ``monitor_backups``
    every hour.

    ``pings`` maps one of these names to the URL that it pings. What would come between 02:00 and 03:00, which
    happens twice or never when clocks change, comes an hour later; but the backup comes when it is told to.
    A run that no worker has begun in time expires: the next is near, and two at once serve nobody.
    """

    def entry(name: str, schedule: crontab, expires: int, **kwargs: Any) -> dict[str, Any]:
        if url := pings.get(name):
            kwargs["ping"] = url
        return {
            "task": f"igny8_backup.{name}",
            "schedule": schedule,
            "kwargs": kwargs,
            # django-celery-beat has a word of its own for it, and passes over Celery's.
            "options": {"expires": expires, "expire_seconds": expires},
        }

    def later(hours: int, **days: str) -> crontab:
        moved = (hour + hours) % 24
        return crontab(hour=str(3 if moved == 2 else moved), minute=str(minute), **days)

    nightly = crontab(hour=str(hour), minute=str(minute))
    return {
        "igny8_backup nightly": entry("backup_all", nightly, 6 * _HOUR, logs=logs),
        # A backup that takes longer than three hours is waited for.
        "igny8_backup prune": entry("prune_backups", later(3), 6 * _HOUR, wait=2 * _HOUR),
        "igny8_backup weekly verification": entry("verify_backup", later(5, day_of_week="sun"), 24 * _HOUR),
        "igny8_backup hourly monitor": entry("monitor_backups", crontab(minute="45"), _HOUR),
    }
