"""The schedule: what it says, and that beat fires it."""

from __future__ import annotations

import inspect
import json
import time
from datetime import UTC, datetime
from pathlib import Path

from celery.schedules import crontab

from igny8_backup import tasks
from igny8_backup.schedules import beat_schedule
from tests.management.state import manifests
from tests.services.project import Project
from tests.tasks.celery_app import SECONDS, beat, worker

EVERY_SECOND = """
from datetime import timedelta
from igny8_backup.schedules import beat_schedule

CELERY_BEAT_SCHEDULE = beat_schedule()
for entry in CELERY_BEAT_SCHEDULE.values():
    entry["schedule"] = timedelta(seconds=1)
    entry["kwargs"]["label"] = "by beat"
"""


def test_the_schedule_is_one_backup_a_night() -> None:
    (entry,) = beat_schedule().values()
    assert entry["task"] == tasks.backup_all.name
    assert entry["schedule"] == crontab(hour="1", minute="15")
    assert entry["kwargs"] == {"logs": False}
    assert entry["options"] == {"expires": 6 * 3600}
    (entry,) = beat_schedule(hour=4, minute=0, logs=True).values()
    assert entry["schedule"] == crontab(hour="4", minute="0")
    assert entry["kwargs"] == {"logs": True}


def test_the_arguments_fit_the_task() -> None:
    (entry,) = beat_schedule(logs=True).values()
    assert set(entry["kwargs"]) <= set(inspect.signature(tasks.backup_all.run).parameters)


def test_beat_makes_backups(queued: Project) -> None:
    settings = Path(queued.folder, "settings/further_settings.py")
    settings.write_text(settings.read_text() + EVERY_SECOND)
    begun = datetime.now(UTC)
    with worker(queued, "worker", "--pool=solo") as program, beat(queued) as clock:
        clock.wait_for("Sending due task igny8_backup nightly (igny8_backup.backup_all)")
        deadline = time.monotonic() + SECONDS
        while not manifests(queued):
            assert time.monotonic() < deadline and "raised" not in program.said, program.said
            time.sleep(0.05)
    made = json.loads(manifests(queued)[0].read_text())
    assert made["label"] == "by beat"
    assert datetime.fromisoformat(made["started"]) >= begun.replace(microsecond=0)
