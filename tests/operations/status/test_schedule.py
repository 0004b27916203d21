"""The schedule, ``RETENTION`` and the time that backups take fit together, or a check warns."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from celery.schedules import crontab

from igny8_backup.conf import get_config
from igny8_backup.conf.sections.schedule import period_of
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.status.refresh import refresh_status
from igny8_backup.operations.status.schedule import find_problems
from igny8_backup.retention.policy import Part
from igny8_backup.schedules import beat_schedule, hourly_schedule
from tests.operations.clocks import Clock, by_clock

SITES = Part(host="web-1", kind="files", name="sites")
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("schedule", "period"),
    [
        (crontab(minute="15"), HOUR),
        (crontab(minute="15", hour="*/4"), 4 * HOUR),
        (crontab(minute="0,30", hour="8-18"), 13.5 * HOUR),
        (crontab(minute="15", hour="1"), 24 * HOUR),
        (crontab(minute="15", day_of_week="sun"), None),
        (1800, HOUR / 2),
        (timedelta(hours=2), 2 * HOUR),
        ("an unknown scheduler", None),
    ],
)
def test_period_of_a_schedule_is_its_longest_pause(schedule: Any, period: timedelta | None) -> None:
    assert period_of(schedule) == period


@pytest.mark.usefixtures("context")
def test_schedule_says_how_old_a_backup_may_be(settings: Any) -> None:
    settings.CELERY_BEAT_SCHEDULE = beat_schedule()
    assert get_config().max_age_of(SITES) == timedelta(days=2) and not find_problems(get_config())
    settings.CELERY_BEAT_SCHEDULE = {
        **beat_schedule(),
        "hourly": {"task": "igny8_backup.backup_sites", "schedule": crontab(minute="0"), "args": ["sites"]},
    }
    assert get_config().backup_every == {"sites": HOUR}
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "MAX_AGE": {"sites": timedelta(days=1)}}
    assert get_config().max_age_of(SITES) == timedelta(days=1)
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "BACKUP_EVERY": 6 * HOUR, "MAX_AGE": {}}
    assert get_config().max_age_of(SITES) == 12 * HOUR


def numbers(config: Any) -> list[str]:
    return [problem.id.rpartition(".")[2] for problem in find_problems(config)]


@pytest.mark.slow
def test_retention_without_hours_and_slow_backups_are_warned_of(
    context: BackupContext, settings: Any
) -> None:
    settings.CELERY_BEAT_SCHEDULE = hourly_schedule()
    assert numbers(get_config()) == ["W070"]
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "RETENTION": {"hourly": 48, "daily": 14}}
    assert not find_problems(get_config())
    clock = Clock()
    context = by_clock(replace(context, config=get_config()), clock)
    seconds: Any = context.progress  # each file takes some minutes

    class Slow(type(seconds)):  # type: ignore[misc]  # a class that is known at run time
        def advance(self, amount: int, count: int = 0) -> None:
            clock.forward(minutes=8)

    for progress, expected in ((seconds, []), (Slow(), ["W071"]), (seconds, [])):
        clock.forward(hours=2)
        (context.config.sites["sites"] / f"page {clock.now:%H}").write_text("new")
        run_backup(replace(context, progress=progress), BackupRequest(trees=("sites", "uploads")))
        refresh_status(context)
        assert numbers(get_config()) == expected
