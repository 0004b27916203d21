"""Celery tasks: the same operations as the commands. A failed backup is a failed task with the reason.

A broker may deliver a task twice: Redis does so when it is not acknowledged within the visibility timeout,
which a long queue or a long backup can exceed. The run is named after the task's id, so a second delivery
finds it and does nothing. What verifies, prunes and monitors may as well run twice.
"""

from __future__ import annotations

import logging
from typing import Any

from celery import shared_task
from celery.exceptions import Ignore

from igny8_backup.errors import IncompleteError, IntegrityError, UnhealthyError
from igny8_backup.formats.manifest import RUNNING, RunRecord
from igny8_backup.humanize import count_in_words
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.backup.tree import TreeRequest
from igny8_backup.operations.context import BackupContext, open_context
from igny8_backup.operations.maintain.monitor import monitor
from igny8_backup.operations.maintain.prune import prune
from igny8_backup.operations.notify.report import Report
from igny8_backup.operations.progress import NullProgress
from igny8_backup.operations.selection import choose, choose_trees
from igny8_backup.operations.verify.run import AllVerified, verify, verify_all
from igny8_backup.operations.verify.verifier import VerifyRequest

logger = logging.getLogger(__name__)
_SHOWN = 10


class LogProgress(NullProgress):
    """A progress that logs what is to be read: the worker's log is all that anybody sees of a task."""

    def note(self, text: str) -> None:
        logger.warning("%s", text)


@shared_task(bind=True, name="igny8_backup.backup_db", acks_late=False, ignore_result=False)
def backup_db(self: Any, *aliases: str, label: str = "", wait: float = 0, ping: str = "") -> dict[str, Any]:
    """Backs up the databases ``aliases``, by default all. Returns what was done; raises ``BackupError``.

    ``wait`` is how many seconds to wait for another run to end, ``ping`` a URL as for the commands.
    """
    with (
        _report("backup_db", ping) as report,
        open_context(progress=report, writing=True, wait=wait) as context,
    ):
        chosen = choose(aliases, context.config.databases, "database")
        request = BackupRequest(databases=chosen, label=label, task_id=self.request.id or "")
        return _run(context, request, report)


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
    """Backs up the trees ``names``, by default all ``SITES``, with ``logs`` those in ``LOGS`` as well; with
    ``full`` every file anew, not only what has changed."""
    with (
        _report("backup_sites", ping) as report,
        open_context(progress=report, writing=True, wait=wait) as context,
    ):
        trees = choose_trees(context.config, names, logs=logs)
        request = BackupRequest(
            trees=trees, reading=TreeRequest(full=full), label=label, task_id=self.request.id or ""
        )
        return _run(context, request, report)


@shared_task(bind=True, name="igny8_backup.backup_all", acks_late=False, ignore_result=False)
def backup_all(
    self: Any, logs: bool = False, full: bool = False, label: str = "", wait: float = 0, ping: str = ""
) -> dict[str, Any]:
    """Backs up every database, then every tree, under one id; ``full`` as with ``backup_sites``."""
    with (
        _report("backup_all", ping) as report,
        open_context(progress=report, writing=True, wait=wait) as context,
    ):
        trees = (*context.config.sites, *(context.config.logs if logs else ()))
        request = BackupRequest(
            databases=context.config.databases,
            trees=trees,
            reading=TreeRequest(full=full),
            label=label,
            task_id=self.request.id or "",
        )
        return _run(context, request, report)


@shared_task(name="igny8_backup.verify_backup", acks_late=False, ignore_result=False)
def verify_backup(
    backup_id: str = "", sample: int = 100, every: bool = False, ping: str = ""
) -> dict[str, Any]:
    """Reads what is stored of a backup, by default the newest, or of ``every`` one; needs no key. Raises
    ``IntegrityError``."""
    request = VerifyRequest(backup_id=backup_id, sample=sample)
    with _report("verify_backup", ping) as report, open_context(progress=report) as context:
        found = verify_all(context, request) if every else AllVerified(results=(verify(context, request),))
        if found.damaged:
            raise IntegrityError(f"What is stored is damaged. {' '.join(found.problems())}")
        if not found.whole:
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
    """Removes what retention gives up. Raises ``IncompleteError`` for what stood in the way."""
    with _report("prune_backups", ping) as report, open_context(progress=report, wait=wait) as context:
        result = prune(context)
        if not result.whole:
            removed = count_in_words(len(result.removed), "backup")
            raise IncompleteError(f"{removed} removed. {' '.join(result.problems())}")
        return {"removed": list(result.removed), "swept": len(result.swept), "waiting": len(result.waiting)}


@shared_task(name="igny8_backup.monitor_backups", acks_late=False, ignore_result=False)
def monitor_backups(ping: str = "") -> dict[str, Any]:
    """Looks at everything. Raises ``UnhealthyError`` with each condition that failed."""
    with _report("monitor_backups", ping) as report, open_context(progress=report) as context:
        health = monitor(context)
        if health.failed:
            report.fail(*health.problems(), failure_key=health.failure_key)
            raise UnhealthyError(" ".join(health.problems()))
        return {"healthy": True, "conditions": len(health.conditions)}


def _report(what: str, url: str) -> Report:
    return Report(what, LogProgress(), url=url)


def _run(context: BackupContext, request: BackupRequest, report: Report) -> dict[str, Any]:
    result = run_backup(context, request)
    if result.earlier:
        report.silence()  # the first delivery tells
        return _repeated(result.earlier)
    if not result.whole:
        report.fail(*result.problems(_SHOWN))
    if result.errors:
        failed = " ".join(f"{name}: {error}" for name, error in result.errors.items())
        raise IncompleteError(f"Backup {result.id} lacks parts. {failed}")
    return {
        "id": result.id,
        "repeated": False,
        "skipped": len(result.skipped),
        "stored_bytes": result.manifest.stored_bytes if result.manifest else 0,
    }


def _repeated(run: RunRecord) -> dict[str, Any]:
    if run.outcome == RUNNING:
        # The first delivery is at work and will say how it ended; nobody shall read "success" before.
        raise Ignore
    if run.errors:
        failed = ", ".join(f"{name} ({kind})" for name, kind in run.errors.items())
        raise IncompleteError(f"This task was delivered before, as run {run.id}: {failed} failed.")
    return {"id": run.id, "repeated": True, "skipped": 0, "stored_bytes": 0}
