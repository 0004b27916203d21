"""The memory of django-celery-beat in a restored database: what it missed since must not run all at once.

Beat compares ``last_run_at`` with the schedule; a task that never ran counts from its last change, unless its
``start_time`` is still to come. A beat that goes on while databases are swapped reads its tasks again when
``last_update`` has changed.
"""

from __future__ import annotations

from typing import Any

from django.utils import timezone

_TASKS = "django_celery_beat_periodictask"
_CHANGES = "django_celery_beat_periodictasks"


def forget_missed(connection: Any) -> None:
    """Moves the times of all periodic tasks in the database of ``connection`` (Django's) to now; nothing
    where it has none."""
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
        if _TASKS in tables:
            cursor.execute(
                f"UPDATE {_TASKS} SET last_run_at = %s"  # noqa: S608
                " WHERE last_run_at IS NOT NULL OR start_time IS NULL OR start_time <= %s",
                [now, now],
            )
        if _CHANGES in tables:
            cursor.execute(f"UPDATE {_CHANGES} SET last_update = %s", [now])  # noqa: S608
