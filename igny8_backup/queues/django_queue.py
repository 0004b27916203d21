"""Queue tasks with a backend of Django's ``TASKS``, which exist since Django 6.0."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from igny8_backup.common.outside import is_from_outside
from igny8_backup.conf import CELERY, configured_queue
from igny8_backup.errors import BackupError

DEFAULT = "default"
"""The alias of the backend that is used if the settings name none, and Django's name of the default queue."""
_REFUSED = {
    "ImmediateBackend": "which does the work inside the web request",
    "DummyBackend": "which stores tasks that nobody does",
}
"""Backends without a worker, by the name of their class: those of Django, and of the package django-tasks."""


class DjangoQueue:
    """A backend of ``TASKS``, as a :class:`~igny8_backup.queues.choose.TaskQueue`; ``alias`` is its name."""

    def __init__(self, alias: str) -> None:
        self._alias = alias

    def refusal(self) -> str:
        """Return why no worker would do a task; ``""`` if one would."""
        if find_spec("django.tasks") is None:
            return "Django has no tasks before version 6.0"
        from django.tasks import task_backends

        try:
            backend = task_backends[self._alias]
        except Exception as error:  # a backend of another package is imported and set up here
            if is_from_outside(error):
                raise
            return f"the backend {self._alias!r} in TASKS cannot be used ({type(error).__name__})"
        for kind in type(backend).__mro__:
            if reason := _REFUSED.get(kind.__name__):
                return f"the backend {self._alias!r} in TASKS is {kind.__name__}, {reason}"
        return ""

    def send(self, name: str, arguments: dict[str, Any]) -> str:
        """Queue the task; return its id. Raises ``BackupError`` if the backend raises an exception."""
        try:
            # By its dotted path, as a worker does: the module needs Django 6.0.
            sent = import_string(f"igny8_backup.django_tasks.{name}").enqueue(**arguments)
        except Exception as error:  # each backend has exceptions of its own
            if is_from_outside(error):
                raise
            raise BackupError(
                f"The backend {self._alias!r} in TASKS refused the task ({type(error).__name__}).",
                unchanged="Nothing was queued.",
                hint="Check that the database or server of the backend runs, then press the button again.",
            ) from None
        return str(sent.id)


def task_options() -> dict[str, Any]:
    """Return the backend and the queue of the tasks of this package.

    The backend is that in ``QUEUE``, or the default one; the queue is the first one in ``QUEUES`` of the
    backend. Django checks both when it imports the tasks.
    """
    name = configured_queue()
    alias = DEFAULT if name in ("", CELERY) else name
    queues = (getattr(settings, "TASKS", None) or {}).get(alias, {}).get("QUEUES") or [DEFAULT]
    return {"backend": alias, "queue_name": str(next(iter(queues)))}
