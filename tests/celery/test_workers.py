"""Workers and schedules without Celery, an app or a broker."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tasks.celery_app import REPOSITORY

pytestmark = pytest.mark.slow

ALONE = """
import {first}
from django.conf import settings
settings.configure()
from igny8_backup.celery import workers
print(workers.ask_workers().unasked, "|", workers.stop_workers(seconds=1))
"""


@pytest.mark.parametrize(
    ("first", "answer"),
    [
        ("sys; sys.modules['celery'] = None", "Celery is not installed"),
        ("celery", "the project has no Celery app"),
        ("celery; celery.Celery(broker='memory://')", "the broker is in memory, so no worker outside"),
        ("celery; celery.Celery(broker='redis://:secret@127.0.0.1:1/0')", "the broker cannot be reached"),
        (
            "celery; celery.Celery(broker='redis://:secret@127.0.0.1:{deaf}/0')",
            "the broker cannot be reached",
        ),
        (
            "celery; celery.Celery(broker='mongodb://someone:secret@127.0.0.1/0')",
            "Celery cannot load what it needs for this broker (No module named 'pymongo')",
        ),
    ],
)
def test_ask_workers_without_broker_reports_the_reason(first: str, answer: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # takes a connection and never answers
        first = first.format(deaf=deaf.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", "-c", ALONE.format(first=first)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={"PYTHONPATH": str(REPOSITORY)},
            timeout=60,
        )
    said = done.stdout + done.stderr
    assert "secret" not in said
    if "redis" in first or "mongodb" in first:
        # To stop workers was asked for in so many words: that it cannot be done is a failure.
        assert f"The workers could not be stopped: {answer}" in said
        return
    assert done.stdout.startswith(answer) and done.stdout.endswith("| ()\n"), said


SCHEDULE = "{'backup': {'task': 'igny8_backup.backup_all', 'schedule': 60}}"
APP = "celery; app = celery.Celery('project'); "


@pytest.mark.parametrize(
    ("first", "tasks"),
    [
        ("sys; sys.modules['celery'] = None", "None"),
        ("celery", "None"),
        (APP, "[]"),
        (APP + f"app.conf.beat_schedule = {SCHEDULE}", "['igny8_backup.backup_all']"),
        (
            APP + f"app.config_from_object({{'X_BEAT_SCHEDULE': {SCHEDULE}}}, namespace='X')",
            "['igny8_backup.backup_all']",
        ),
        (
            APP + "app.on_after_finalize.connect(lambda sender, **_: sender.add_periodic_task("
            "60, celery.signature('igny8_backup.backup_all', app=sender)), weak=False)",
            "['igny8_backup.backup_all']",
        ),
        (APP + "app.config_from_object('no_such_module')", "None"),
    ],
)
def test_scheduled_tasks_returns_the_entries_of_the_app(first: str, tasks: str, tmp_path: Path) -> None:
    source = f"import {first}\nfrom igny8_backup.celery import workers\nprint(workers.scheduled_tasks())"
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", source],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY)},
        timeout=60,
    )
    assert (done.stdout, done.stderr) == (f"{tasks}\n", "")
