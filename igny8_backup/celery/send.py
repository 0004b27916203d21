"""Send tasks to queues of the project's Celery app, over a connection that gives up soon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from igny8_backup.celery.control import CONNECT_SECONDS, broker_problem
from igny8_backup.celery.workers import find_app
from igny8_backup.common.outside import is_from_outside
from igny8_backup.errors import BackupError, RefusedError

LIMITS = {
    "max_retries": 1,
    "socket_connect_timeout": CONNECT_SECONDS,
    "socket_timeout": CONNECT_SECONDS,
}
"""Transport options without which Celery tries for ever to reach a broker that is down."""


def send_task(
    name: str,
    arguments: Mapping[str, Any],
    *,
    queue: str | None = None,
    task_id: str | None = None,
    expires: float | None = None,
) -> str:
    """Send the task ``igny8_backup.NAME`` with keyword arguments; return its id.

    ``queue`` is the name of the queue; without it, Celery routes the task. A worker discards the task if it
    receives it more than ``expires`` seconds later. Raises ``RefusedError`` if the project has no Celery app
    whose workers could do it, and ``BackupError`` if the broker does not answer within a few seconds.
    """
    options = {"queue": queue} if queue else {}
    try:
        app, unasked = find_app()
        if app is None:
            raise RefusedError(
                f"Tasks cannot be sent: {unasked}.",
                unchanged="Nothing was queued.",
                hint='Use Celery with a broker such as Redis: see "Celery tasks" in the documentation.',
            )
        with app.connection_for_write(transport_options=LIMITS) as connection:
            connection.ensure_connection(max_retries=1, timeout=CONNECT_SECONDS)
            sent = app.send_task(
                f"igny8_backup.{name}",
                kwargs=dict(arguments),
                connection=connection,
                retry=False,
                ignore_result=True,
                task_id=task_id,
                expires=expires,
                **options,
            )
    except RefusedError:
        raise
    except Exception as error:  # the libraries of brokers raise exceptions of any class
        if is_from_outside(error):
            raise
        problem = broker_problem(error)
        missing = isinstance(error, ImportError)
        hint = "Install that package with Celery" if missing else "Check that the broker runs"
        raise BackupError(
            f"{problem[0].upper()}{problem[1:]}.",
            unchanged="Nothing was queued.",
            hint=f"{hint}, then try again.",
        ) from None
    return str(sent.id)
