"""Django's own tasks: queued in a database, done by its worker, refused where nobody would do them."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("django_tasks_db", reason="Django's tasks need Django 6.0 and django-tasks-db")


from igny8_backup import django_tasks  # noqa: E402 - after the check above
from igny8_backup.conf import problems  # noqa: E402 - after the check above
from igny8_backup.errors import RefusedError  # noqa: E402 - after the check above
from igny8_backup.jobs import backup, upkeep  # noqa: E402 - after the check above
from igny8_backup.queues.choose import queue_task, why_no_queue  # noqa: E402 - after the check above
from tests.services.project import Project  # noqa: E402 - after the check above

SETTINGS = """
INSTALLED_APPS.append("django_tasks_db")
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": ["backups", "default"]}}
STATUS = IGNY8_BACKUP["STATE_DIR"]
"""
QUEUE = """
import json, sys
from igny8_backup.queues.choose import queue_task
print(json.dumps([queue_task(name, **arguments) for name, arguments in json.loads({calls!r})]))
"""
RESULTS = """
import json
from django.tasks import default_task_backend
from django_tasks_db.models import DBTaskResult
found = [default_task_backend.get_result(str(row.id)) for row in DBTaskResult.objects.order_by("enqueued_at")]
print(json.dumps([[one.status, one.task.queue_name, one._return_value,
    [item.exception_class_path for item in one.errors]] for one in found], default=str))
"""
AGAIN = "from django_tasks_db.models import DBTaskResult; DBTaskResult.objects.update(status='READY')"


@pytest.fixture
def queued(project: Project) -> Project:
    """A project with rows and files whose tasks wait in its database."""
    project.seed_small()
    project.settings(SETTINGS)
    project.run("migrate", "--verbosity=0", check=True)
    return project


def shell(project: Project, source: str) -> Any:
    done = project.run("shell", "--verbosity=0", "-c", source, check=True)
    return json.loads(done.stdout or "null")


def results(project: Project) -> list[Any]:
    project.run("db_worker", "--batch", "--queue-name=*", "--no-startup-delay", check=True)
    found: list[Any] = shell(project, RESULTS)
    return found


def test_worker_of_the_database_queue_does_what_is_queued(queued: Project) -> None:
    calls = [
        ["backup_all", {"label": "from-the-admin"}],
        ["verify_backup", {}],
        ["monitor_backups", {}],
        ["pin_backup", {"backup_id": "20260101T000000Z-abcdef", "reason": "before the move"}],
    ]
    ids = shell(queued, QUEUE.format(calls=json.dumps(calls)))
    assert len(set(ids)) == 4
    made, verified, monitored, pinned = results(queued)
    assert made[:2] == ["SUCCESSFUL", "backups"]
    assert verified[2]["ids"] == [made[2]["id"]]
    assert monitored[2]["healthy"]
    assert pinned[3] == ["igny8_backup.errors.UsageError"]

    shell(queued, AGAIN)
    repeated = results(queued)[0][2]
    assert (repeated["id"], repeated["repeated"]) == (made[2]["id"], True)
    assert len(list((queued.storage / "igny8/backups").glob("*/manifest.json"))) == 1


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        (
            "django.tasks.backends.immediate.ImmediateBackend",
            "is ImmediateBackend, which does the work",
        ),
        ("django.tasks.backends.dummy.DummyBackend", "is DummyBackend, which stores tasks that nobody does"),
        ("no.such.Backend", "cannot be used (InvalidTaskBackend)"),
    ],
)
def test_backends_that_queue_for_no_worker_are_refused_by_name(
    settings: Any, backend: str, reason: str
) -> None:
    settings.TASKS = {"jobs": {"BACKEND": backend}}
    settings.IGNY8_BACKUP = {"QUEUE": "jobs"}
    assert reason in why_no_queue()
    with pytest.raises(RefusedError, match="Nothing was queued."):
        queue_task("backup_all")


def test_default_backend_is_used_where_celery_cannot_be(settings: Any) -> None:
    settings.TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
    assert why_no_queue() == ""
    settings.IGNY8_BACKUP = {"QUEUE": "celery"}
    assert "the broker is in memory" in why_no_queue()


def test_tasks_are_those_of_celery() -> None:
    from igny8_backup import tasks

    def names(module: Any, kind: str) -> set[str]:
        return {name for name, value in vars(module).items() if type(value).__name__ == kind}

    work = {name for module in (backup, upkeep) for name in vars(module) if name in vars(tasks)}
    assert names(django_tasks, "Task") == {name for name in work if hasattr(getattr(tasks, name), "delay")}


def test_unknown_queue_is_refused_by_a_check(settings: Any) -> None:
    settings.IGNY8_BACKUP = {"QUEUE": "nowhere"}
    assert [item.id for item in problems()] == ["igny8_backup.E061"]
