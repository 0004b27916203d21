"""Run the operation of a Celery task: report its outcome, write its notes to the log, end it in time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from celery import current_task
from celery.exceptions import Ignore

from igny8_backup.celery.time_limit import ending_at_time_limit
from igny8_backup.errors import BackupError, IncompleteError
from igny8_backup.formats import keys
from igny8_backup.formats.manifest import RUNNING
from igny8_backup.formats.run_record import RunRecord
from igny8_backup.humanize import indented
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import open_context
from igny8_backup.operations.copies.run import copy_after_run
from igny8_backup.operations.guards.green_threads import refuse_eventlet
from igny8_backup.operations.notify.report import Report
from igny8_backup.operations.progress import NullProgress
from igny8_backup.operations.status.refresh import refreshing_status

logger = logging.getLogger("igny8_backup.tasks")
_SHOWN = 10
"""The largest number of skipped files in the report of a backup."""


class LogProgress(NullProgress):
    """A :class:`~igny8_backup.operations.progress.Progress` that writes notes to the log of the worker."""

    def note(self, text: str) -> None:
        logger.warning("%s", indented(text))


@contextmanager
def run_reported(what: str, url: str, what_is_left: str | Callable[[], str]) -> Iterator[Report]:
    """Report the outcome of a task, and end it cleanly at its soft time limit.

    ``what`` is the name of the task. ``url`` is the URL of a monitoring service, which receives the
    outcome; it is empty if there is none. ``what_is_left`` is a sentence about what the task leaves behind if
    the time limit interrupts it, or a function that returns the sentence. Raises ``RefusedError`` in an
    eventlet worker, because this package cannot run in green threads.
    """
    left = what_is_left if callable(what_is_left) else lambda: str(what_is_left)
    with Report(what, LogProgress(), url=url) as report, ending_at_time_limit(left):
        refuse_eventlet(
            "This worker",
            hint="Run these tasks in a worker with another pool: celery worker --pool=prefork.",
        )
        yield report


def back_up(request: BackupRequest, wait: float, report: Report) -> dict[str, Any]:
    """Make the backup that the current Celery task requests, and copy it; return the result of the task.

    ``wait`` is how many seconds to wait for another run to end. Raises ``IncompleteError`` if a part of the
    work failed, and the other errors of ``run_backup``.
    """
    report.cover(*request.databases, *request.trees)
    request = replace(request, task_id=current_task.request.id or "")
    with open_context(progress=report, writing=True, wait=wait) as context, refreshing_status(context) as own:
        result = run_backup(context, request)
        own.alone = not result.earlier
        copies = copy_after_run(context, result)
    if result.earlier:
        report.suppress()  # the first delivery of the task, or the run that goes on, reports the backup
        return _repeated(result.earlier, request.task_id)
    if not (result.complete and copies.complete):
        problems = result.problems(_SHOWN) + copies.problems()
        report.fail(*problems, alarms=[*result.alarms, *copies.alarms])
    if result.errors:
        failed = " ".join(f"{name}: {error}" for name, error in result.errors.items())
        raise IncompleteError(f"Backup {result.id} is incomplete. {failed}")
    if result.suspects:
        shrunk = " ".join(f"{item.name} SUSPECT: {item.text}" for item in result.suspects)
        raise IncompleteError(f"Backup {result.id} was made, but may lack data. {shrunk}")
    if not copies.complete:
        raise IncompleteError(f"Backup {result.id} was made, but not copied. {' '.join(copies.problems())}")
    return {
        "id": result.id,
        "repeated": False,
        "skipped": len(result.skipped),
        "stored_bytes": result.manifest.stored_bytes if result.manifest else 0,
    }


def _repeated(run: RunRecord, task_id: str) -> dict[str, Any]:
    if run.outcome == RUNNING and run.task_id == task_id:
        raise Ignore  # the first delivery is still working and will set the result of the task
    if run.errors:
        failed = ", ".join(f"{name} ({kind})" for name, kind in run.errors.items())
        what = f"This task was delivered before, as run {run.id}: {failed} failed."
        hint = "Start a new task to try again."
        raise IncompleteError(what, unchanged="Nothing was backed up again.", hint=hint)
    return {"id": run.id, "repeated": True, "skipped": 0, "stored_bytes": 0}


def what_backup_left() -> str:
    """Return a sentence about what an interrupted backup task has left in the storage.

    It is empty if the storage cannot be read.
    """
    with open_context() as context, suppress(BackupError):
        run = context.catalog.run_of_task(current_task.request.id or "")
        if run and context.store.exists(keys.manifest_key(run.id)):
            return f"The backup {run.id} was recorded before."
        return "No backup was recorded. The next prune_backups removes what was already stored."
    return ""
