"""The page "Celery tasks" lists every task with its arguments, and no other."""

from __future__ import annotations

import inspect
import re

from celery import current_app

from igny8_backup import tasks
from tests.docs.pages import page


def documented() -> dict[str, str]:
    rows = [
        line.split("|") for line in page("reference/celery-tasks").splitlines() if line.startswith("| `ig")
    ]
    return {row[1].strip(" `"): row[2] for row in rows}


def test_celery_tasks_page_lists_every_task() -> None:
    names = {name for name in current_app.tasks if name.startswith("igny8_backup.")}
    assert documented().keys() == names


def test_celery_tasks_page_lists_the_arguments_with_their_defaults() -> None:
    for name, cell in documented().items():
        task = getattr(tasks, name.removeprefix("igny8_backup."))
        expected = {
            f"{key}={parameter.default!r}".replace("'", '"')
            for key, parameter in inspect.signature(task.run).parameters.items()
            if parameter.default is not inspect.Parameter.empty
        }
        assert set(re.findall(r"`(\w+=[^`]+)`", cell)) == expected, name
