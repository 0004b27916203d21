"""A ready Celery beat schedule."""

from __future__ import annotations

from typing import Any

from celery.schedules import crontab


def beat_schedule(*, hour: int = 1, minute: int = 15, logs: bool = False) -> dict[str, Any]:
    """Entries for ``CELERY_BEAT_SCHEDULE``: ``backup_all`` every night at ``hour``:``minute``.

    The default keeps clear of 02:00 to 03:00, which happens twice or never when clocks change. A run that no
    worker has begun within six hours expires: tomorrow's is near, and two at once serve nobody.
    """
    return {
        "igny8_backup nightly": {
            "task": "igny8_backup.backup_all",
            "schedule": crontab(hour=str(hour), minute=str(minute)),
            "kwargs": {"logs": logs},
            "options": {"expires": 6 * 3600},
        }
    }
