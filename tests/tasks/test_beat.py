"""The schedule: its entries, and that beat sends them."""

from __future__ import annotations

import inspect
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.schedules import crontab

from igny8_backup import tasks
from igny8_backup.schedules import beat_schedule, hourly_schedule
from tests.management.state import manifests
from tests.services.project import Project
from tests.tasks.celery_app import DATABASE_SCHEDULER, SECONDS, beat, worker

EVERY_SECOND = """
from datetime import timedelta
from igny8_backup.schedules import beat_schedule

CELERY_BEAT_SCHEDULE = beat_schedule()
entry = CELERY_BEAT_SCHEDULE["igny8_backup nightly"]
entry["schedule"] = timedelta(seconds=1)
entry["kwargs"]["label"] = "by beat"
"""


READY = """
from igny8_backup.schedules import beat_schedule

CELERY_BEAT_SCHEDULE = beat_schedule()
"""

ROWS = """
    SELECT name, task, kwargs, expire_seconds, minute, hour, day_of_week, timezone
    FROM django_celery_beat_periodictask t JOIN django_celery_beat_crontabschedule c ON c.id = t.crontab_id
    WHERE enabled AND starts_with(name, 'igny8_backup')"""
# Make an entry due: last run two hours ago, scheduled every minute. Beat then reads its tables again.
MOVED = (
    "UPDATE django_celery_beat_periodictask SET last_run_at = %s WHERE task = ANY (%s)",
    "UPDATE django_celery_beat_crontabschedule SET minute = '*', hour = '*' WHERE hour = '4'",
    "UPDATE django_celery_beat_periodictasks SET last_update = now()",
)


def add_settings(project: Project, source: str) -> None:
    settings = Path(project.folder, "settings/further_settings.py")
    settings.write_text(settings.read_text() + source)


def hours(schedule: dict[str, Any]) -> list[set[int]]:
    return [entry["schedule"].hour for entry in schedule.values()]


def test_beat_schedule_has_all_tasks() -> None:
    schedule = beat_schedule()
    assert [entry["task"] for entry in schedule.values()] == [
        task.name
        for task in (
            tasks.backup_all,
            tasks.prune_backups,
            tasks.verify_backup,
            tasks.spot_check,
            tasks.monitor_backups,
        )
    ]
    nightly, prune, weekly, spot, monitor = (entry["schedule"] for entry in schedule.values())
    assert nightly == crontab(hour="1", minute="15") and prune == crontab(hour="4", minute="15")
    assert weekly == crontab(hour="6", minute="15", day_of_week="sun")
    assert spot == crontab(hour="8", minute="15") and monitor == crontab(minute="45")
    assert schedule["igny8_backup nightly"]["kwargs"] == {"logs": False}
    assert all(entry["options"]["expires"] >= 3600 for entry in schedule.values())
    changed = beat_schedule(hour=4, minute=0, logs=True, pings={"backup_all": "https://example.org/uuid"})
    assert hours(changed)[:3] == [{4}, {7}, {9}]
    assert changed["igny8_backup nightly"]["kwargs"] == {"logs": True, "ping": "https://example.org/uuid"}
    for hour in set(range(24)) - {2}:
        assert {2} not in hours(beat_schedule(hour=hour)), "two o'clock comes twice or never"


def test_hourly_schedule_has_all_tasks() -> None:
    schedule = hourly_schedule(logs=True)
    found = {entry["task"].removeprefix("igny8_backup."): entry for entry in schedule.values()}
    assert {name: entry["schedule"] for name, entry in found.items()} == {
        "backup_all": crontab(minute="15"),
        "prune_backups": crontab(minute="35", hour="3"),
        "verify_backup": crontab(minute="35", hour="5"),
        "spot_check": crontab(minute="35", hour="7"),
        "monitor_backups": crontab(minute="45"),
    }
    expected = {"logs": True, "wait": 3600, "yield_after": 10, "skip_if_running": True}
    assert found["backup_all"]["kwargs"] == expected
    assert not schedule.keys() & {"igny8_backup nightly", "igny8_backup weekly verification"}
    for minute in range(60):
        for entry in hourly_schedule(minute=minute).values():
            assert {2} != entry["schedule"].hour, "two o'clock comes twice or never"


@pytest.mark.parametrize("schedule", [beat_schedule, hourly_schedule])
def test_schedule_arguments_fit_the_tasks(schedule: Any) -> None:
    names = ("backup_all", "prune_backups", "verify_backup", "spot_check", "monitor_backups")
    for entry in schedule(pings=dict.fromkeys(names, "https://example.org/uuid")).values():
        task = getattr(tasks, entry["task"].removeprefix("igny8_backup."))
        assert "ping" in entry["kwargs"]
        assert set(entry["kwargs"]) <= set(inspect.signature(task.run).parameters)


def test_beat_runs_the_backup_task(queued: Project) -> None:
    add_settings(queued, EVERY_SECOND)
    begun = datetime.now(UTC)
    with worker(queued, "worker", "--pool=solo") as program, beat(queued) as clock:
        clock.wait_for("Sending due task igny8_backup nightly (igny8_backup.backup_all)")
        deadline = time.monotonic() + SECONDS
        while not manifests(queued):
            assert time.monotonic() < deadline and "raised" not in program.output, program.output
            time.sleep(0.05)
    made = json.loads(manifests(queued)[0].read_text())
    assert made["label"] == "by beat"
    assert datetime.fromisoformat(made["started"]) >= begun.replace(microsecond=0)


def test_beat_database_scheduler_runs_the_backup_task(queued: Project, app: Celery) -> None:
    add_settings(queued, READY)
    with worker(queued, "worker", "--pool=solo") as program, beat(queued, *DATABASE_SCHEDULER) as clock:
        clock.wait_until(lambda: len(queued.sql(ROWS)) == 5)
        found = {str(row[0]): row[1:] for row in queued.sql(ROWS)}
        assert found == {name: as_row(entry) for name, entry in beat_schedule().items()}
        for task, *_ in found.values():
            assert f"  . {task}\n" in program.output, "the name is unknown to the worker"
        app.send_task("igny8_backup.backup_all").get(timeout=SECONDS)
        moved = ["igny8_backup.prune_backups", "igny8_backup.monitor_backups"]
        two_hours_ago = datetime.now(UTC) - timedelta(hours=2)
        for statement, values in zip(MOVED, ((two_hours_ago, moved), (), ()), strict=True):
            queued.sql(statement, *values)
        program.wait_for("succeeded in", times=3)
        assert "raised" not in program.output
        for task in moved:
            assert f"({task})" in clock.output and f"Task {task}[" in program.output


def as_row(entry: dict[str, Any]) -> tuple[Any, ...]:
    """What the tables should contain for an entry."""
    schedule = entry["schedule"]
    times = (schedule._orig_minute, schedule._orig_hour, schedule._orig_day_of_week)
    return (entry["task"], json.dumps(entry["kwargs"]), entry["options"]["expires"], *times, "UTC")


def test_beat_schedule_prunes_and_verifies_copies() -> None:
    added = {
        name: entry
        for name, entry in beat_schedule(copies=["offsite"]).items()
        if entry["kwargs"].get("from_storage") == "offsite"
    }
    assert {entry["task"] for entry in added.values()} == {
        "igny8_backup.prune_backups",
        "igny8_backup.verify_backup",
    }
    for entry in added.values():
        task = getattr(tasks, entry["task"].removeprefix("igny8_backup."))
        inspect.signature(task.run).bind(**entry["kwargs"])
