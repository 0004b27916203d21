"""A ready-made schedule for Celery beat: :func:`beat_schedule`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery.schedules import crontab

_HOUR = 3600
_NO_PINGS: Mapping[str, str] = {}


def beat_schedule(
    *, hour: int = 1, minute: int = 15, logs: bool = False, pings: Mapping[str, str] = _NO_PINGS
) -> dict[str, Any]:
    """Return entries for ``CELERY_BEAT_SCHEDULE``.

    ``backup_all`` runs every night at ``hour``:``minute``, ``prune_backups`` three hours later,
    ``verify_backup`` on Sundays five hours later, and ``monitor_backups`` every hour.

    ``logs`` includes the trees in ``LOGS``. ``pings`` maps the name of a task, such as ``backup_all``, to the
    URL that it pings. Daily and weekly tasks other than the backup never start between 02:00 and 03:00, an
    hour that occurs twice or never when clocks change. A task that no worker starts within a few hours
    expires.
    """

    def entry(name: str, schedule: crontab, expires: int, **kwargs: Any) -> dict[str, Any]:
        if url := pings.get(name):
            kwargs["ping"] = url
        return {
            "task": f"igny8_backup.{name}",
            "schedule": schedule,
            "kwargs": kwargs,
            # django-celery-beat ignores "expires" and has an option of its own.
            "options": {"expires": expires, "expire_seconds": expires},
        }

    def later(hours: int, **days: str) -> crontab:
        moved = (hour + hours) % 24
        return crontab(hour=str(3 if moved == 2 else moved), minute=str(minute), **days)

    nightly = crontab(hour=str(hour), minute=str(minute))
    return {
        "igny8_backup nightly": entry("backup_all", nightly, 6 * _HOUR, logs=logs),
        # The task waits for a backup that takes longer than three hours.
        "igny8_backup prune": entry("prune_backups", later(3), 6 * _HOUR, wait=2 * _HOUR),
        "igny8_backup weekly verification": entry("verify_backup", later(5, day_of_week="sun"), 24 * _HOUR),
        "igny8_backup hourly monitor": entry("monitor_backups", crontab(minute="45"), _HOUR),
    }
