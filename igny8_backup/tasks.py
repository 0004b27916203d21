"""Celery tasks for the same operations as the commands. If the operation fails, the task fails.

A broker may deliver a task twice. Redis does so if a task is not acknowledged within the visibility timeout,
which a long queue or a long backup can exceed. The id of a backup is derived from the id of its task, so the
second delivery finds the backup and does nothing. The other tasks may safely run twice.
"""

from __future__ import annotations

import logging
from typing import Any

from celery import shared_task
from celery.exceptions import Ignore

from igny8_backup.conf import get_config
from igny8_backup.errors import IncompleteError, IntegrityError, UnhealthyError
from igny8_backup.formats.manifest import RUNNING, RunRecord
from igny8_backup.humanize import count_in_words, indented
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import open_context
from igny8_backup.operations.maintain.monitor import monitor
from igny8_backup.operations.maintain.prune import prune
from igny8_backup.operations.notify.report import Report
from igny8_backup.operations.progress import NullProgress
from igny8_backup.operations.selection import choose_databases, choose_trees
from igny8_backup.operations.verify.result import VerifyRequest, parse_percent
from igny8_backup.operations.verify.run import ALL_BACKUPS, AllVerified, verify, verify_all

logger = logging.getLogger(__name__)
_SHOWN = 10


class LogProgress(NullProgress):
    """A :class:`~igny8_backup.operations.progress.Progress` that writes notes to the log of the worker."""

    def note(self, text: str) -> None:
        logger.warning("%s", indented(text))


@shared_task(bind=True, name="igny8_backup.backup_db", acks_late=False, ignore_result=False)
def backup_db(self: Any, *aliases: str, label: str = "", wait: float = 0, ping: str = "") -> dict[str, Any]:
    """Back up the databases ``aliases``, by default all.

    ``wait`` is how many seconds to wait for another run to end; ``ping`` is the URL of a monitoring service.
    Returns the id of the backup, its size in bytes and the number of skipped files. Raises ``BackupError``.
    """
    with _report("backup_db", ping) as report:
        request = BackupRequest(
            databases=choose_databases(get_config(), aliases), label=label, task_id=self.request.id or ""
        )
        return _back_up(request, wait, report)


@shared_task(bind=True, name="igny8_backup.backup_sites", acks_late=False, ignore_result=False)
def backup_sites(
    self: Any,
    *names: str,
    logs: bool = False,
    full: bool = False,
    label: str = "",
    wait: float = 0,
    ping: str = "",
) -> dict[str, Any]:
    """Back up the trees ``names``, by default all of ``SITES``; with ``logs`` also those of ``LOGS``.

    ``full`` stores every file again, changed or not. The other arguments and the result are those of
    ``backup_db``.
    """
    with _report("backup_sites", ping) as report:
        request = BackupRequest(
            trees=choose_trees(get_config(), names, logs=logs),
            full=full,
            label=label,
            task_id=self.request.id or "",
        )
        return _back_up(request, wait, report)


@shared_task(bind=True, name="igny8_backup.backup_all", acks_late=False, ignore_result=False)
def backup_all(
    self: Any, logs: bool = False, full: bool = False, label: str = "", wait: float = 0, ping: str = ""
) -> dict[str, Any]:
    """Back up all databases, then all trees, as one backup. The arguments are those of ``backup_sites``."""
    with _report("backup_all", ping) as report:
        config = get_config()
        request = BackupRequest(
            databases=config.databases,
            trees=(*config.sites, *(config.logs if logs else ())),
            full=full,
            label=label,
            task_id=self.request.id or "",
        )
        return _back_up(request, wait, report)


@shared_task(name="igny8_backup.verify_backup", acks_late=False, ignore_result=False)
def verify_backup(
    backup_id: str = "", sample: int | str = 100, every: bool = False, ping: str = ""
) -> dict[str, Any]:
    """Read the objects of a backup in storage and compare them with its manifest. No key is needed.

    Verifies the backup ``backup_id``, by default the newest; with ``every`` all backups. ``sample`` is the
    share of the objects to read, in percent: 5 or "5%". Raises ``UsageError`` for another value,
    ``IntegrityError`` if there is damage, ``IncompleteError`` if a backup could not be verified.
    """
    with _report("verify_backup", ping) as report, open_context(progress=report) as context:
        request = VerifyRequest(backup_id=backup_id, sample=parse_percent(sample))
        found = verify_all(context, request) if every else AllVerified(results=(verify(context, request),))
        report.cover(*found.ids, *[ALL_BACKUPS] * every)
        if not found.complete:
            report.fail(*found.problems(), alarms=found.alarms)
        if found.damaged:
            raise IntegrityError(
                f"Backups in storage are damaged. {' '.join(found.problems())}",
                unchanged="Nothing was changed.",
                hint="Make a new backup now. If there is another copy of the storage, copy the damaged"
                " objects back from it.",
            )
        if not found.complete:
            raise IncompleteError(" ".join(found.problems()))
        checks = [result.check for result in found.results]
        return {
            "ids": [check.id for check in checks],
            "objects": sum(check.objects for check in checks),
            "read": sum(check.read for check in checks),
            "bytes": sum(check.bytes for check in checks),
        }


@shared_task(name="igny8_backup.prune_backups", acks_late=False, ignore_result=False)
def prune_backups(wait: float = 0, ping: str = "") -> dict[str, Any]:
    """Remove the backups that the retention policy no longer keeps, and orphans (objects without a backup).

    Returns the ids of the removed backups, and how many orphans were removed or wait for a later run. Raises
    ``IncompleteError`` if a backup or orphan could not be removed.
    """
    with _report("prune_backups", ping) as report, open_context(progress=report, wait=wait) as context:
        result = prune(context)
        if not result.complete:
            removed = count_in_words(len(result.removed), "backup")
            raise IncompleteError(f"{removed} removed. {' '.join(result.problems())}")
        return {"removed": list(result.removed), "swept": len(result.swept), "waiting": len(result.waiting)}


@shared_task(name="igny8_backup.monitor_backups", acks_late=False, ignore_result=False)
def monitor_backups(ping: str = "") -> dict[str, Any]:
    """Check the age, size and health of all backups. Raises ``UnhealthyError``, which lists the problems."""
    with _report("monitor_backups", ping) as report, open_context(progress=report) as context:
        health = monitor(context)
        if health.failed:
            report.fail(*health.problems(), alarms=health.alarms)
            hint = "Show all conditions: python manage.py monitor_backups."
            raise UnhealthyError(" ".join(health.problems()), unchanged="Nothing was changed.", hint=hint)
        return {"healthy": True, "conditions": len(health.conditions)}


def _report(what: str, url: str) -> Report:
    return Report(what, LogProgress(), url=url)


def _back_up(request: BackupRequest, wait: float, report: Report) -> dict[str, Any]:
    report.cover(*request.databases, *request.trees)
    with open_context(progress=report, writing=True, wait=wait) as context:
        result = run_backup(context, request)
    if result.earlier:
        report.suppress()  # the first delivery of the task reports the run
        return _repeated(result.earlier)
    if not result.complete:
        report.fail(*result.problems(_SHOWN), alarms=result.alarms)
    if result.errors:
        failed = " ".join(f"{name}: {error}" for name, error in result.errors.items())
        raise IncompleteError(f"Backup {result.id} is incomplete. {failed}")
    return {
        "id": result.id,
        "repeated": False,
        "skipped": len(result.skipped),
        "stored_bytes": result.manifest.stored_bytes if result.manifest else 0,
    }


def _repeated(run: RunRecord) -> dict[str, Any]:
    if run.outcome == RUNNING:
        # The first delivery is still working and will set the result of the task.
        raise Ignore
    if run.errors:
        failed = ", ".join(f"{name} ({kind})" for name, kind in run.errors.items())
        what = f"This task was delivered before, as run {run.id}: {failed} failed."
        hint = "Start a new task to try again."
        raise IncompleteError(what, unchanged="Nothing was backed up again.", hint=hint)
    return {"id": run.id, "repeated": True, "skipped": 0, "stored_bytes": 0}
