"""Find out how often databases and trees are backed up: from ``BACKUP_EVERY`` or ``CELERY_BEAT_SCHEDULE``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings

from igny8_backup.conf.model import SETTING
from igny8_backup.conf.parser import Reader

_DAY = timedelta(days=1)
_TASK = "igny8_backup.backup_"


def read_backup_every(
    reader: Reader, databases: Iterable[str], sites: Iterable[str], logs: Iterable[str]
) -> dict[str, timedelta]:
    """Return, by the name of a database or tree, the time between two of its backups.

    Without the setting ``BACKUP_EVERY``, those that ``CELERY_BEAT_SCHEDULE`` backs up several times a day are
    returned. Entries of other schedulers are not known.
    """
    found: Any = reader.take("BACKUP_EVERY", (timedelta, dict), None)
    if found is None:
        return dict(_scheduled(tuple(databases), tuple(sites), tuple(logs)))
    every = found if isinstance(found, dict) else dict.fromkeys((*databases, *sites), found)
    for name, period in every.items():
        if not isinstance(name, str) or type(period) is not timedelta or period <= timedelta():
            reader.wrong(
                "E062",
                f"{SETTING}['BACKUP_EVERY'] is {found!r}, which is not allowed.",
                'Write timedelta(hours=1), or {"uploads": timedelta(hours=1)}.',
            )
            return {}
    return dict(every)


def backups_yield(yield_after: int) -> bool:
    """Return whether backups look for sessions that wait for them.

    They do if ``yield_after``, the setting ``YIELD_AFTER``, is not 0, or if an entry of
    ``CELERY_BEAT_SCHEDULE`` sets another time. Entries of other schedulers are not known.
    """
    return bool(yield_after) or any((entry.get("kwargs") or {}).get("yield_after") for entry in _entries())


def _entries() -> Iterator[Mapping[str, Any]]:
    """Yield the entries of ``CELERY_BEAT_SCHEDULE`` that make backups."""
    entries: Mapping[str, Any] = getattr(settings, "CELERY_BEAT_SCHEDULE", None) or {}
    for entry in entries.values():
        if isinstance(entry, Mapping) and str(entry.get("task", "")).startswith(_TASK):
            yield entry


def _scheduled(
    databases: tuple[str, ...], sites: tuple[str, ...], logs: tuple[str, ...]
) -> Iterator[tuple[str, timedelta]]:
    """Yield the name and the period of everything that Celery beat backs up several times a day."""
    periods: dict[str, timedelta] = {}
    for entry in _entries():
        kind, chosen = str(entry["task"]).removeprefix(_TASK), tuple(entry.get("args") or ())
        with_logs = logs if (entry.get("kwargs") or {}).get("logs") else ()
        names = {
            "all": (*databases, *sites, *with_logs),
            "fleet": (*databases, *sites, *with_logs),
            "db": chosen or databases,
            "sites": chosen or (*sites, *with_logs),
        }.get(kind, ())
        if (period := period_of(entry.get("schedule"))) and period < _DAY:
            for name in names:
                periods[name] = min(period, periods.get(name, _DAY))
    yield from periods.items()


def period_of(schedule: Any) -> timedelta | None:
    """Return the time between two runs of a Celery schedule, or ``None`` if they are not evenly spread.

    ``schedule`` is a ``crontab``, a ``timedelta`` or a number of seconds. A ``crontab`` must run every day;
    for any other the result is ``None``.
    """
    if isinstance(schedule, timedelta):
        return schedule
    if isinstance(schedule, int | float):
        return timedelta(seconds=schedule)
    hours, minutes = getattr(schedule, "hour", None), getattr(schedule, "minute", None)
    days = (getattr(schedule, "day_of_week", ()), getattr(schedule, "day_of_month", ()))
    if not (hours and minutes) or [len(item) for item in days] != [7, 31]:
        return None
    times = sorted(timedelta(hours=hour, minutes=minute) for hour in hours for minute in minutes)
    return max(later - time for time, later in zip(times, [*times[1:], times[0] + _DAY], strict=True))
