"""The tasks that make backups.

A queue may deliver a task twice. Celery with Redis does so if a task is not acknowledged within the
visibility timeout, which a long queue or a long backup can exceed. The id of a backup is derived from the id
of its task (``delivery``), so the second delivery finds the backup and does nothing.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

from igny8_backup.conf import get_config
from igny8_backup.errors import BackupError, IncompleteError
from igny8_backup.formats import keys
from igny8_backup.formats.documents.run_record import RunRecord
from igny8_backup.formats.manifest import RUNNING
from igny8_backup.jobs.reporting import run_reported
from igny8_backup.operations.backup.request import BackupRequest, BackupResult
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext, open_context
from igny8_backup.operations.copies.run import copy_after_run
from igny8_backup.operations.locking.lock_wait import UNATTENDED_WAIT
from igny8_backup.operations.notify.report import Report
from igny8_backup.operations.selection import choose_databases, choose_trees
from igny8_backup.operations.status.refresh import refreshing_status

_SHOWN = 10
"""The largest number of skipped files in the report of a backup."""


def backup_db(
    delivery: str,
    *aliases: str,
    label: str = "",
    wait: float = UNATTENDED_WAIT,
    yield_after: float | None = None,
    skip_if_running: bool = False,
    ping: str = "",
) -> dict[str, Any] | None:
    """Back up the databases ``aliases``, by default all.

    ``delivery`` is the id of the task, ``label`` a text that lists of backups show. ``wait`` is how many
    seconds to wait for another run to end; ``ping`` is the URL of a monitoring service. ``yield_after``
    replaces the setting ``YIELD_AFTER``. With ``skip_if_running``, no backup is made while this host is
    making the same one. Returns the id of the backup, its size in bytes and the number of skipped files;
    ``None`` if an earlier delivery of the same task is still at work. Raises ``BackupError``.
    """
    with run_reported("backup_db", ping, partial(what_is_left, delivery)) as report:
        request = BackupRequest(
            databases=choose_databases(get_config(), aliases),
            label=label,
            task_id=delivery,
            yield_after=yield_after,
            skip_if_running=skip_if_running,
        )
        return _back_up(request, wait, report)


def backup_sites(
    delivery: str,
    *names: str,
    logs: bool = False,
    full: bool = False,
    label: str = "",
    wait: float = UNATTENDED_WAIT,
    skip_if_running: bool = False,
    ping: str = "",
) -> dict[str, Any] | None:
    """Back up the trees ``names``, by default all of ``SITES``; with ``logs`` also those of ``LOGS``.

    ``full`` stores every file again, changed or not. The other arguments have the same meaning as for
    ``backup_db``, and the result has the same fields.
    """
    with run_reported("backup_sites", ping, partial(what_is_left, delivery)) as report:
        request = BackupRequest(
            trees=choose_trees(get_config(), names, logs=logs),
            full=full,
            label=label,
            task_id=delivery,
            skip_if_running=skip_if_running,
        )
        return _back_up(request, wait, report)


def backup_all(
    delivery: str,
    logs: bool = False,
    full: bool = False,
    label: str = "",
    wait: float = UNATTENDED_WAIT,
    ping: str = "",
    yield_after: float | None = None,
    skip_if_running: bool = False,
) -> dict[str, Any] | None:
    """Back up all databases, then all trees, as one backup.

    The arguments have the same meaning as for ``backup_db`` and ``backup_sites``.
    """
    with run_reported("backup_all", ping, partial(what_is_left, delivery)) as report:
        config = get_config()
        request = BackupRequest(
            databases=config.databases,
            trees=(*config.sites, *(config.logs if logs else ())),
            full=full,
            label=label,
            task_id=delivery,
            yield_after=yield_after,
            skip_if_running=skip_if_running,
        )
        return _back_up(request, wait, report)


def _back_up(request: BackupRequest, wait: float, report: Report) -> dict[str, Any] | None:
    """Make the backup that a task requests, and copy it; return the result of the task.

    ``wait`` is how many seconds to wait for another run to end. Raises ``IncompleteError`` if a part of the
    work failed, and the other errors of ``run_backup``.
    """
    report.cover(*request.databases, *request.trees)
    with (
        open_context(progress=report, writing=True, wait=wait) as opened,
        refreshing_status(opened) as context,
    ):
        return finish_backup(context, run_backup(context, request), report, request.task_id)


def finish_backup(
    context: BackupContext, result: BackupResult, report: Report, delivery: str
) -> dict[str, Any] | None:
    """Copy the backup ``result`` to the storages in ``COPIES``, and report it; return the result of the task.

    ``delivery`` is the id of the task. Raises ``IncompleteError`` if a part of the work failed.
    """
    copies = copy_after_run(context, result)
    if result.earlier:
        report.suppress()  # the first delivery of the task, or the run that goes on, reports the backup
        return _repeated(result.earlier, delivery)
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


def _repeated(run: RunRecord, task_id: str) -> dict[str, Any] | None:
    if run.outcome == RUNNING and run.task_id == task_id:
        return None  # the first delivery will set the result of the task
    if run.errors:
        failed = ", ".join(f"{name} ({kind})" for name, kind in run.errors.items())
        what = f"This task was delivered before, as run {run.id}: {failed} failed."
        hint = "Start a new task to try again."
        raise IncompleteError(what, unchanged="Nothing was backed up again.", hint=hint)
    return {"id": run.id, "repeated": True, "skipped": 0, "stored_bytes": 0}


def what_is_left(delivery: str) -> str:
    """Return a sentence about what an interrupted backup task has left in the storage.

    It is empty if the storage cannot be read.
    """
    with open_context() as context, suppress(BackupError):
        run = context.catalog.run_of_task(delivery)
        if run and context.store.exists(keys.manifest_key(run.id)):
            return f"The backup {run.id} was recorded before."
        return "No backup was recorded. The next prune_backups removes what was already stored."
    return ""
