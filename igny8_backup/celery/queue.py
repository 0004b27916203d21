"""Queue a task of this package for a Celery worker, from a process that must not do the work itself."""

from __future__ import annotations

from typing import Any

from igny8_backup.celery.control import CONNECT_SECONDS
from igny8_backup.celery.workers import find_app
from igny8_backup.errors import BackupError, RefusedError
from igny8_backup.outside import is_from_outside

_UNCHANGED = "Nothing was queued."


def why_no_queue() -> str:
    """Return why tasks cannot be queued for a worker, or ``""``. Does not connect to the broker."""
    app, unasked = find_app()
    if app is None:
        return f"Tasks cannot be queued: {unasked}."
    if app.conf.task_always_eager:
        return (
            "Tasks cannot be queued: CELERY_TASK_ALWAYS_EAGER is set, so the work would be done inside the"
            " web request."
        )
    return ""


def queue_task(name: str, **arguments: Any) -> str:
    """Queue the task ``igny8_backup.NAME`` with its keyword arguments; return the id of the task.

    Raises ``RefusedError`` if tasks cannot be queued (see :func:`why_no_queue`), ``BackupError`` if the
    broker does not answer within a few seconds.
    """
    if reason := why_no_queue():
        hint = 'Set CELERY_BROKER_URL to a broker, such as Redis, and start a worker: see "Celery tasks".'
        raise RefusedError(reason, unchanged=_UNCHANGED, hint=hint)
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
            unchanged=_UNCHANGED,
            hint="Check that the broker runs, then press the button again.",
        ) from None
    return str(sent.id)
