"""Interrupt a task at its soft time limit, in the same way as a signal interrupts a command."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from igny8_backup.errors import StoppedError
from igny8_backup.streams.interrupts import handling


class TimeLimitReached(KeyboardInterrupt):
    """The soft time limit of the task has passed. ``except Exception`` does not catch this exception.

    Celery's own ``SoftTimeLimitExceeded`` derives from ``Exception``. A handler of failures could take it for
    a failure of the storage or the database, and continue.
    """


@contextmanager
def ending_at_time_limit(what_is_left: Callable[[], str]) -> Iterator[None]:
    """Within the block, let the soft time limit of the current Celery task interrupt the work.

    If that happens, raises :class:`StoppedError` at the end of the block. ``what_is_left`` is called then; it
    returns a sentence about what the interrupted work has left behind. In pools without soft time limits, and
    outside Celery, this has no effect.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeLimitReached

    try:
        with handling(stop, *_signals()):
            yield
    except TimeLimitReached:
        from celery import current_task

        name, seconds = current_task.name, _soft_limit(current_task)
        limit = f" of {seconds:g} seconds" if seconds else ""
        raise StoppedError(
            f"The task {name} was stopped by its soft time limit{limit}.",
            unchanged=what_is_left(),
            hint="Give it more time, for example in the settings of the project: CELERY_TASK_ANNOTATIONS ="
            f" {{{name!r}: {{'soft_time_limit': 12 * 3600, 'time_limit': 12 * 3600 + 300}}}}.",
        ) from None


def in_pool_process() -> bool:
    """Return whether this is a process of Celery's process pool (prefork), which runs one task at a time."""
    handler = signal.getsignal(signal.SIGUSR1)  # of the soft time limit
    return getattr(handler, "__module__", "").startswith("billiard")


def _soft_limit(task: Any) -> float | None:
    """Return the soft time limit of the current task in seconds.

    Returns ``None`` if neither the task nor the settings contain the limit: then it comes from the command
    line of the worker.
    """
    _, of_message = task.request.timelimit or (None, None)
    found = of_message or task.soft_time_limit or task.app.conf.task_soft_time_limit
    return float(found) if found else None


def _signals() -> tuple[signal.Signals, ...]:
    """Return the signal that Celery's process pool sends to a task at its soft time limit.

    The result is empty in other pools.
    """
    return (signal.SIGUSR1,) if in_pool_process() else ()
