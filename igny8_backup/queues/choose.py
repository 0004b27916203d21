"""Queue tasks for the workers of the project. Entry points: :func:`why_no_queue` and :func:`queue_task`."""

from __future__ import annotations

from typing import Any, Protocol

from igny8_backup.conf import CELERY, configured_queue
from igny8_backup.errors import RefusedError
from igny8_backup.queues.celery_queue import CeleryQueue
from igny8_backup.queues.django_queue import DEFAULT, DjangoQueue

UNCHANGED = "Nothing was queued."


class TaskQueue(Protocol):
    """A queue whose tasks are done by a worker in another process."""

    def refusal(self) -> str:
        """Return why no worker would do a task that is queued here; ``""`` if one would. Never connects."""

    def send(self, name: str, arguments: dict[str, Any]) -> str:
        """Queue the task ``igny8_backup.NAME`` with keyword arguments; return the id of the task.

        Raises ``BackupError`` if the queue cannot be reached.
        """


def choose_queue() -> tuple[TaskQueue | None, str]:
    """Return the queue that ``QUEUE`` in the settings names; ``None`` and the reason if it cannot be used.

    Without ``QUEUE``, this is Celery, if the project has workers of it, else the default backend of Django's
    tasks.
    """
    name = configured_queue()
    queues: list[TaskQueue] = []
    if name in ("", CELERY):
        queues.append(CeleryQueue())
    if name != CELERY:
        queues.append(DjangoQueue(name or DEFAULT))
    reasons = []
    for queue in queues:
        reason = queue.refusal()
        if not reason:
            return queue, ""
        reasons.append(reason)
    return None, ", and ".join(reasons)


def why_no_queue() -> str:
    """Return why tasks cannot be queued for a worker, or ``""``. Does not connect to anything."""
    queue, reason = choose_queue()
    return "" if queue else f"Tasks cannot be queued: {reason}."


def queue_task(name: str, **arguments: Any) -> str:
    """Queue the task ``igny8_backup.NAME`` with its keyword arguments; return the id of the task.

    Raises ``RefusedError`` if tasks cannot be queued (see :func:`why_no_queue`), ``BackupError`` if the
    queue does not answer within a few seconds.
    """
    queue, reason = choose_queue()
    if queue is None:
        raise RefusedError(
            f"Tasks cannot be queued: {reason}.",
            unchanged=UNCHANGED,
            hint='Use Celery with a broker such as Redis, or a backend of TASKS with a worker: see "Celery'
            ' tasks" and "Django tasks" in the documentation.',
        )
    return queue.send(name, arguments)
