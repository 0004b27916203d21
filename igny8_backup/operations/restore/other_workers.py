"""Find all workers: those that answer over the broker of Celery, and those that the project names."""

from __future__ import annotations

from dataclasses import replace

from django.conf import settings
from django.utils.module_loading import import_string

from igny8_backup.celery.workers import Workers, ask_workers
from igny8_backup.common.outside import is_from_outside
from igny8_backup.conf import SETTING, Config, Problem
from igny8_backup.operations.guards.preconditions import make_problem

_QUEUES = {
    "django_rq": "RQ",
    "rq": "RQ",
    "huey.contrib.djhuey": "Huey",
    "django_huey": "Huey",
    "django_dramatiq": "Dramatiq",
    "django_q": "Django Q",
    "django_tasks.backends.database": "django-tasks",
    "django_tasks_db": "django-tasks",
    "procrastinate.contrib.django": "Procrastinate",
    "background_task": "django-background-tasks",
    "django_apscheduler": "APScheduler",
}
"""Django applications of task queues, with the name of the queue. This package cannot ask their workers."""
_AT_ONCE = ("ImmediateBackend", "DummyBackend")
"""Backends of Django's ``TASKS`` that need no worker."""


def find_workers(config: Config) -> Workers:
    """List the running workers of the project: those of Celery, and those that ``WORKERS`` names.

    If some workers cannot be asked whether they are running, ``doubt`` of the result says why. The reasons
    are another task queue while ``WORKERS`` is not set, a function in ``WORKERS`` that fails, and a Celery
    broker without remote control. If the broker of Celery cannot be asked, ``unreachable`` is set instead.
    Raises no errors.
    """
    found = ask_workers(fleet_queues(config))
    if config.workers:
        try:
            others = tuple(sorted(map(str, import_string(config.workers)())))
        except Exception as error:  # code of the project runs here
            if is_from_outside(error):
                raise
            text = f": {error}" if isinstance(error, ImportError) else ""
            reason = (
                "workers cannot be asked whether they are running:"
                f" {SETTING}['WORKERS'] ({config.workers}) failed: {type(error).__name__}{text}"
            )
            return replace(found, doubt="; ".join(filter(None, (found.doubt, reason))))
        return replace(found, names=(*found.names, *others), others=others)
    if queues := other_queues():
        reason = f"workers of {', '.join(queues)} cannot be asked whether they are running"
        return replace(found, doubt="; ".join(filter(None, (found.doubt, reason))))
    return found


def fleet_queues(config: Config) -> frozenset[str]:
    """Return the queues of the hosts of the fleet. Their workers only make backups and restores."""
    return frozenset(host.queue for host in config.fleet.values())


def other_queues() -> list[str]:
    """Return the task queues other than Celery that the settings of the project mention."""
    apps = {str(name).partition(".apps.")[0] for name in settings.INSTALLED_APPS}
    names = {queue for app, queue in _QUEUES.items() if app in apps}
    for backend in (getattr(settings, "TASKS", None) or {}).values():
        path = str(backend.get("BACKEND", "")) if isinstance(backend, dict) else ""
        if path and not path.endswith(_AT_ONCE):
            names.add(f"TASKS ({path})")
    return sorted(names)


def problems(config: Config) -> list[Problem]:
    """Return W014 if a restore could not ask all workers of the project whether they are running."""
    if config.workers:
        try:
            if callable(import_string(config.workers)):
                return []
            why = "is not a function"
        except Exception as error:  # code of the project runs here
            if is_from_outside(error):
                raise
            text = f": {error}" if isinstance(error, ImportError) else f" ({type(error).__name__})"
            why = f"cannot be imported{text}"
        hint = (
            f"Correct {SETTING}['WORKERS']: a function without arguments that returns the names of workers."
        )
        return [make_problem("W014", f"{SETTING}['WORKERS'] ({config.workers}) {why}.", hint)]
    if queues := other_queues():
        message = (
            f"restore_all cannot ask the workers of {', '.join(queues)} whether they are running, and refuses"
            " to replace data unless you stop them and say --ignore-workers."
        )
        return [make_problem("W014", message, f"Name a function in {SETTING}['WORKERS'] that lists them.")]
    return []
