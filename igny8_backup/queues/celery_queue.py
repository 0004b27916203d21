"""Queue tasks for the project's Celery workers."""

from __future__ import annotations

from typing import Any

from igny8_backup.celery.control import broker_problem
from igny8_backup.celery.send import send_task
from igny8_backup.celery.workers import find_app
from igny8_backup.common.outside import is_from_outside


class CeleryQueue:
    """The queue of the project's Celery app, as a :class:`~igny8_backup.queues.choose.TaskQueue`."""

    def refusal(self) -> str:
        """Return why no worker would do a task; ``""`` if one would."""
        try:
            app, unasked = find_app()
        except Exception as error:  # the libraries of brokers raise exceptions of any class
            if is_from_outside(error):
                raise
            return broker_problem(error)
        if app is None:
            return unasked
        if app.conf.task_always_eager:
            return "CELERY_TASK_ALWAYS_EAGER is set, so the work would be done inside the web request"
        return ""

    def send(self, name: str, arguments: dict[str, Any]) -> str:
        """Queue the task; return its id. Raises ``BackupError`` if the broker does not answer."""
        return send_task(name, arguments)
