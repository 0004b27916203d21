"""Backups by real workers: made, failed with the reason, and made once if delivered twice."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from django.core.files.storage import FileSystemStorage

from igny8_backup.errors import FilesError, IncompleteError, LockedError, UsageError
from igny8_backup.jobs.reporting import LogProgress
from igny8_backup.locks.host import file_lock
from igny8_backup.store import open_store
from tests.management.state import manifests
from tests.services.project import Project
from tests.tasks.celery_app import REDELIVER_SOON, SECONDS, worker

GATE = """
import time
from pathlib import Path
from celery import shared_task

@shared_task(name="gate")
def gate(path):
    while Path(path).exists():
        time.sleep(0.05)
"""


@contextmanager
def opened_at_the_end(gate: Path) -> Iterator[None]:
    """Opens at the end whatever fails, so that the worker waiting there can end."""
    try:
        yield
    finally:
        gate.unlink(missing_ok=True)


def runs(project: Project) -> list[dict[str, Any]]:
    """The records of all runs, oldest first."""
    found = [json.loads(path.read_text()) for path in (project.storage / "igny8/runs").glob("2*.json")]
    return sorted(found, key=lambda run: str(run["started"]))


def result(app: Celery, name: str, *args: str, task_id: str | None = None, **kwargs: Any) -> Any:
    """Return what the task returned; raise what it raised."""
    return app.send_task(f"igny8_backup.{name}", args, kwargs, task_id=task_id).get(timeout=SECONDS)


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_worker_runs_backup_and_reports_failure(queued: Project, app: Celery, pool: str) -> None:
    project = queued
    with worker(project, pool, f"--pool={pool}") as program:
        for name in ("backup_all", "backup_db", "backup_sites"):
            assert f". igny8_backup.{name}" in program.output, "Celery discovers the tasks"

        done = result(app, "backup_all", label="nightly")
        assert set(done) == {"id", "repeated", "skipped", "stored_bytes"}
        (path,) = manifests(project)
        manifest = json.loads(path.read_text())
        assert (manifest["id"], manifest["label"]) == (done["id"], "nightly")
        assert done["stored_bytes"] > 10_000 and not done["repeated"]
        assert [part["state"] for part in manifest["databases"] + manifest["trees"]] == ["complete"] * 3

        with pytest.raises(UsageError, match="There is no database 'defualt'. Nothing was read or written."):
            result(app, "backup_db", "defualt")
        with pytest.raises(FilesError, match="not mounted"):
            result(app, "backup_sites", "logs")
        with pytest.raises(IncompleteError, match="is incomplete. logs: The folder .*not mounted"):
            result(app, "backup_all", logs=True)
        assert [run["outcome"] for run in runs(project)] == ["complete", "failed", "incomplete"]

        store = open_store(FileSystemStorage(location=project.storage), "igny8/")
        held = file_lock(store, project.state, doing="a backup by hand", now=datetime.now(UTC))
        with held, pytest.raises(LockedError, match="a backup by hand"):
            result(app, "backup_sites", "uploads", wait=0)

        again = str(uuid.uuid4())
        first = result(app, "backup_sites", "uploads", task_id=again)
        app.send_task("igny8_backup.backup_sites", ["uploads"], task_id=again)
        program.wait_for(f"[{again}] succeeded", times=2)
        assert [run["id"] for run in runs(project) if run["task_id"] == again] == [first["id"]]

        lost = str(uuid.uuid4())
        for _ in range(2):
            with pytest.raises(
                (FilesError, IncompleteError), match="not mounted|delivered before.*FilesError"
            ):
                result(app, "backup_sites", "logs", task_id=lost)
        assert len([run for run in runs(project) if run["task_id"] == lost]) == 1
    assert program.process.returncode == 0
    for secret in (project.server.password, "AGE-SECRET-KEY", project.environment["DJANGO_SECRET_KEY"]):
        assert secret not in program.output


def test_worker_task_delivered_to_two_runs_once(queued: Project, app: Celery) -> None:
    """Redis delivers a message to another worker when the first has not started it in time."""
    project = queued
    settings = Path(project.folder, "settings/further_settings.py")
    settings.write_text(settings.read_text() + REDELIVER_SOON)
    (settings.parent / "gate.py").write_text(GATE)
    gate, task_id = project.folder / "the gate is shut", str(uuid.uuid4())
    gate.touch()
    with worker(project, "busy", "--pool=prefork", "--include=gate") as busy, opened_at_the_end(gate):
        app.send_task("gate", [str(gate)])
        busy.wait_for("Task gate[")
        sent = app.send_task("igny8_backup.backup_all", task_id=task_id)
        # The worker has fetched the message and will start it at some time.
        busy.wait_for(f"Task igny8_backup.backup_all[{task_id}] received")
        with worker(project, "free", "--pool=solo", "--include=gate") as free:
            done = sent.get(timeout=SECONDS)
            gate.unlink()
            busy.wait_for(f"[{task_id}] succeeded")
            free.wait_for(f"[{task_id}] succeeded")
    for program in (busy, free):
        assert f"Task igny8_backup.backup_all[{task_id}] received" in program.output
    assert [json.loads(path.read_text())["id"] for path in manifests(project)] == [done["id"]]
    assert len(runs(project)) == 1


def test_log_progress_notes_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    LogProgress().note("database default: nothing has moved for 1 minute.")
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("igny8_backup.tasks", "WARNING")
    assert record.message == "database default: nothing has moved for 1 minute."
