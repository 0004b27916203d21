"""Run the operation of a task: report its outcome, write its notes to the log, end it in time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from igny8_backup.celery.time_limit import ending_at_time_limit, in_pool_process
from igny8_backup.common.humanize import indented
from igny8_backup.common.memory import is_configured, return_large_memory, share_arenas
from igny8_backup.operations.guards.green_threads import refuse_eventlet
from igny8_backup.operations.notify.report import Report
from igny8_backup.operations.progress import NullProgress

logger = logging.getLogger("igny8_backup.tasks")


class LogProgress(NullProgress):
    """A :class:`~igny8_backup.operations.progress.Progress` that writes notes to the log of the worker."""

    def note(self, text: str) -> None:
        logger.warning("%s", indented(text))


@contextmanager
def run_reported(what: str, url: str, what_is_left: str | Callable[[], str]) -> Iterator[Report]:
    """Report the outcome of a task.

    If the task has a soft time limit of Celery, end it cleanly at that limit. In a process of Celery's
    process pool, limit the memory that the C library keeps.

    ``what`` is the name of the task. ``url`` is the URL of a monitoring service, which receives the outcome;
    it is empty if there is none. ``what_is_left`` is a sentence about what the task leaves behind if the time
    limit interrupts it, or a function that returns the sentence. Raises ``RefusedError`` in an eventlet
    worker, because this package cannot run in green threads.
    """
    # Nowhere else: other workers share their process with the application at work. Repeated backups of files
    # in chunks took up to 197 MiB without this, and 141 MiB with it.
    if in_pool_process() and not is_configured():
        share_arenas()
        return_large_memory()
    left = what_is_left if callable(what_is_left) else lambda: str(what_is_left)
    with Report(what, LogProgress(), url=url) as report, ending_at_time_limit(left):
        refuse_eventlet(
            "This worker",
            hint="Run these tasks in a worker with another pool: celery worker --pool=prefork.",
        )
        yield report
