"""Prevent a rush of tasks after a restore: django-celery-beat would run all that were due since the backup.

Beat compares ``last_run_at`` of a task with the schedule of the task, so this module sets ``last_run_at`` to
now. It does so even for tasks that have never run: beat would count from the last change of such a task. Only
tasks that have never run and whose ``start_time`` is in the future are left alone. The module also sets
``last_update``, so that a running beat reads its tasks again.
"""

from __future__ import annotations

from typing import Any

from django.utils import timezone

_TASKS = "django_celery_beat_periodictask"
_CHANGES = "django_celery_beat_periodictasks"


def mark_tasks_as_run(connection: Any) -> None:
    """Set the time of the last run of periodic tasks to now.

    Tasks that have never run and whose ``start_time`` is in the future are left alone. ``connection`` is a
    database connection of Django. Nothing is done if its database has no tables of django-celery-beat.
    """
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
        if _TASKS in tables:
            cursor.execute(
                f"UPDATE {_TASKS} SET last_run_at = %s"  # noqa: S608 - a constant
                " WHERE last_run_at IS NOT NULL OR start_time IS NULL OR start_time <= %s",
                [now, now],
            )
        if _CHANGES in tables:
            cursor.execute(f"UPDATE {_CHANGES} SET last_update = %s", [now])  # noqa: S608 - a constant
