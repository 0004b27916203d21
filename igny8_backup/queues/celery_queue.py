"""Queue tasks for the project's Celery workers."""

from __future__ import annotations

from typing import Any

from igny8_backup.celery.control import CONNECT_SECONDS
from igny8_backup.celery.workers import find_app
from igny8_backup.common.outside import is_from_outside
from igny8_backup.errors import BackupError


class CeleryQueue:
    """The queue of the project's Celery app, as a :class:`~igny8_backup.queues.choose.TaskQueue`."""

    def refusal(self) -> str:
        """Return why no worker would do a task; ``""`` if one would."""
        app, unasked = find_app()
        if app is None:
            return unasked
        if app.conf.task_always_eager:
            return "CELERY_TASK_ALWAYS_EAGER is set, so the work would be done inside the web request"
        return ""

    def send(self, name: str, arguments: dict[str, Any]) -> str:
        """Queue the task; return its id. Raises ``BackupError`` if the broker does not answer."""
        app, _ = find_app()
        limits = {
            "max_retries": 1,
            "socket_connect_timeout": CONNECT_SECONDS,
            "socket_timeout": CONNECT_SECONDS,
        }
        try:
            with app.connection_for_write(transport_options=limits) as connection:
                connection.ensure_connection(max_retries=1, timeout=CONNECT_SECONDS)
                sent = app.send_task(
                    f"igny8_backup.{name}",
                    kwargs=arguments,
                    connection=connection,
                    retry=False,
                    ignore_result=True,
                )
        except Exception as error:  # the libraries of brokers raise exceptions of any class
            if is_from_outside(error):
                raise
            raise BackupError(
                f"The broker cannot be reached ({type(error).__name__}).",
                unchanged="Nothing was queued.",
                hint="Check that the broker runs, then press the button again.",
            ) from None
        return str(sent.id)
