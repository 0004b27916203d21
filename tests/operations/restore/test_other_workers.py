"""Workers that cannot be asked do not count as stopped, and the project may name a function that asks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from django.conf import settings as django_settings

from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.restore.other_workers import find_workers, other_queues
from tests.management.commands import Done, run_many
from tests.services.project import Project

pytestmark = pytest.mark.slow

MODULE = """
from pathlib import Path

def running():
    text = Path({file!r}).read_text()
    if text == "fail":
        raise ConnectionError("redis://:a-password@queue")
    return text.split()
"""


@pytest.mark.parametrize(
    ("app", "queue"),
    [("django_rq", "RQ"), ("huey.contrib.djhuey", "Huey"), ("django_q.apps.DjangoQConfig", "Django Q")],
)
def test_other_queues_are_found_in_the_settings(
    monkeypatch: pytest.MonkeyPatch, context: BackupContext, app: str, queue: str
) -> None:
    assert other_queues() == []
    monkeypatch.setattr(django_settings, "INSTALLED_APPS", [app])
    assert other_queues() == [queue]
    assert f"workers of {queue} cannot be asked" in find_workers(context.config).doubt


def test_other_queues_include_backends_of_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = {"default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}}
    monkeypatch.setattr(django_settings, "TASKS", tasks, raising=False)
    assert other_queues() == []
    tasks["default"]["BACKEND"] = "some.DatabaseBackend"
    assert other_queues() == ["TASKS (some.DatabaseBackend)"]


def test_find_workers_function_that_is_missing_is_a_doubt(context: BackupContext) -> None:
    config = replace(context.config, workers="no.such.function")
    doubt = (
        "workers cannot be asked whether they are running: IGNY8_BACKUP['WORKERS'] (no.such.function) failed"
    )
    assert f"{doubt}: ModuleNotFoundError: No module named 'no'" in find_workers(config).doubt


@pytest.fixture
def queued(project: Project) -> Project:
    """A project whose files are backed up, and whose function reads the names of workers from a file."""
    (project.uploads / "page").write_text("text")
    project.settings("IGNY8_BACKUP['WORKERS'] = 'queues.running'")
    (project.folder / "settings/queues.py").write_text(MODULE.format(file=str(project.folder / "running")))
    (made,) = run_many(project, ["backup_sites", "uploads"])
    made.ended(0)
    return project


def restore(project: Project, running: str, *options: str) -> Done:
    (project.folder / "running").write_text(running)
    identity = ["--identity", str(project.identity)]
    (done,) = run_many(project, ["restore_all", "--only", "uploads", "--noinput", *identity, *options])
    return done


def test_restore_asks_the_function_for_running_workers(queued: Project) -> None:
    refused = restore(queued, "rq:worker-1").ended(4)
    assert "1 worker is running (rq:worker-1)" in refused.stderr and "--ignore-workers" in refused.stderr
    stopping = restore(queued, "rq:worker-1", "--stop-workers").ended(4)
    assert "(rq:worker-1), which --stop-workers cannot stop" in stopping.stderr
    stopping = restore(queued, "fail", "--stop-workers").ended(4)
    assert "Stop all workers by hand and give --ignore-workers instead" in stopping.stderr
    failing = restore(queued, "fail").ended(4)
    assert "['WORKERS'] (queues.running) failed: ConnectionError" in failing.stderr
    assert "a-password" not in failing.output
    restore(queued, "fail", "--ignore-workers").ended(0)
    restore(queued, "").ended(0)
    (undone,) = run_many(queued, ["undo_restore"])
    undone.ended(0)


def test_workers_whose_broker_is_down_do_not_count_as_stopped(queued: Project) -> None:
    """They may still run a task that they received before."""
    queued.environment["CELERY_BROKER_URL"] = "redis://127.0.0.1:1/0"
    for option in ((), ("--stop-workers",)):
        refused = restore(queued, "", *option).ended(4)
        assert "cannot be asked whether they are running: the broker cannot be reached" in refused.stderr
        assert "give --ignore-workers" in refused.stderr
    restored = restore(queued, "", "--ignore-workers").ended(0)
    assert "the broker cannot be reached (OperationalError). Make sure that they" in restored.stdout
    undone, ignored = run_many(queued, ["undo_restore"], ["undo_restore", "--ignore-workers"])
    assert "the broker cannot be reached" in undone.ended(4).stderr
    ignored.ended(0)


def test_restore_that_replaces_nothing_goes_on_while_the_broker_is_down(queued: Project) -> None:
    """On a new server, workers have nothing to write to."""
    queued.environment["CELERY_BROKER_URL"] = "redis://127.0.0.1:1/0"
    (queued.uploads / "page").unlink()
    refused = restore(queued, "", "--stop-workers").ended(4)
    assert "the broker cannot be reached" in refused.stderr
    restored = restore(queued, "").ended(0)
    assert "the broker cannot be reached (OperationalError). Make sure that they" in restored.stdout
