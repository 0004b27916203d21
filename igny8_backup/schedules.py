"""Ready-made schedules for Celery beat: :func:`beat_schedule` and :func:`hourly_schedule`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from celery.schedules import crontab

_HOUR = 3600
YIELD_AFTER = 10
"""An hourly backup ends itself if another session has waited for one of its locks for so many seconds."""
_NO_PINGS: Mapping[str, str] = {}


def beat_schedule(
    *,
    hour: int = 1,
    minute: int = 15,
    logs: bool = False,
    pings: Mapping[str, str] = _NO_PINGS,
    copies: Iterable[str] = (),
    fleet: str = "",
) -> dict[str, Any]:
    """Return entries for ``CELERY_BEAT_SCHEDULE``.

    ``backup_all`` runs every night at ``hour``:``minute``, and ``prune_backups`` three hours after it.
    ``spot_check`` runs every day seven hours after the backup, and ``verify_backup`` on Sundays five hours
    after it. ``monitor_backups`` runs every hour.

    ``copies`` are names of copies in ``COPIES``: each of them is pruned after the backups, and verified on
    Saturdays. ``fleet`` is the queue of a worker that coordinates fleet backups: then ``backup_fleet`` runs
    there instead of ``backup_all``. ``logs`` includes the trees in ``LOGS``. ``pings`` maps the name of a
    task, such as ``backup_all``, to the URL that it pings. Daily and weekly tasks other than the backup never
    start between 02:00 and 03:00, an hour that occurs twice or never when clocks change. A task that no
    worker starts within a few hours expires.
    """

    entry = partial(_entry, pings)

    def later(hours: int, **days: str) -> crontab:
        moved = (hour + hours) % 24
        return crontab(hour=str(3 if moved == 2 else moved), minute=str(minute), **days)

    nightly = crontab(hour=str(hour), minute=str(minute))
    of_copies: dict[str, Any] = {}
    for name in copies:
        of_copies |= {
            f"igny8_backup prune {name}": entry(
                "prune_backups", later(4), 6 * _HOUR, wait=2 * _HOUR, from_storage=name
            ),
            f"igny8_backup verification of {name}": entry(
                "verify_backup", later(6, day_of_week="sat"), 24 * _HOUR, from_storage=name, older_packs=True
            ),
        }
    return {
        "igny8_backup nightly": _to_queue(fleet, entry("backup_fleet", nightly, 6 * _HOUR, logs=logs))
        if fleet
        else entry("backup_all", nightly, 6 * _HOUR, logs=logs),
        # The task waits for a backup that takes longer than three hours.
        "igny8_backup prune": entry("prune_backups", later(3), 6 * _HOUR, wait=2 * _HOUR),
        "igny8_backup weekly verification": entry(
            "verify_backup", later(5, day_of_week="sun"), 24 * _HOUR, older_packs=True
        ),
        "igny8_backup spot check": entry("spot_check", later(7), 12 * _HOUR),
        "igny8_backup hourly monitor": entry("monitor_backups", crontab(minute="45"), _HOUR),
        **of_copies,
    }


def hourly_schedule(
    *, minute: int = 15, logs: bool = False, pings: Mapping[str, str] = _NO_PINGS
) -> dict[str, Any]:
    """Return entries for ``CELERY_BEAT_SCHEDULE`` with a backup every hour.

    ``backup_all`` runs every hour at ``minute``. It waits for other runs for at most an hour, but is skipped
    while this host is still making the backup before it. It ends itself after another session, such as a
    migration, has waited for it for ten seconds, and is tried again five minutes later. ``monitor_backups``
    runs half an hour after each backup. ``prune_backups`` runs every day after 3 o'clock, ``verify_backup``
    after 5 and ``spot_check`` after 7, each of them between two backups. ``logs`` includes the trees in
    ``LOGS``. ``pings`` maps the name of a task, such as ``backup_all``, to the URL that it pings. The setting
    ``RETENTION`` needs the rule ``hourly``, which its default lacks. See the page "Back up every hour" of the
    documentation.
    """
    entry, between = partial(_entry, pings), (minute + 20) % 60
    half_past = crontab(minute=str((minute + 30) % 60))

    def daily(hour: int) -> crontab:
        return crontab(hour=str(hour), minute=str(between))

    return {
        "igny8_backup hourly": entry(
            "backup_all",
            crontab(minute=str(minute)),
            _HOUR,
            logs=logs,
            wait=_HOUR,
            yield_after=YIELD_AFTER,
            skip_if_running=True,
        ),
        "igny8_backup prune": entry("prune_backups", daily(3), 6 * _HOUR, wait=2 * _HOUR),
        "igny8_backup nightly verification": entry("verify_backup", daily(5), 12 * _HOUR, older_packs=True),
        "igny8_backup spot check": entry("spot_check", daily(7), 12 * _HOUR),
        "igny8_backup hourly monitor": entry("monitor_backups", half_past, _HOUR),
    }


def _entry(
    pings: Mapping[str, str], name: str, schedule: crontab, expires: int, **kwargs: Any
) -> dict[str, Any]:
    if url := pings.get(name):
        kwargs["ping"] = url
    return {
        "task": f"igny8_backup.{name}",
        "schedule": schedule,
        "kwargs": kwargs,
        # django-celery-beat ignores "expires" and has an option of its own.
        "options": {"expires": expires, "expire_seconds": expires},
    }


def _to_queue(queue: str, entry: dict[str, Any]) -> dict[str, Any]:
    """Return ``entry`` with the option that sends its task to ``queue``."""
    return {**entry, "options": {**entry["options"], "queue": queue}}
