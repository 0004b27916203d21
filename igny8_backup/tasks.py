"""Celery tasks: the same operations as the commands. A failed backup is a failed task with the reason.

A broker may deliver a task twice: Redis does so when it is not acknowledged within the visibility timeout,
which a long queue or a long backup can exceed. The run is named after the task's id, so a second delivery
finds it and does nothing.
"""

from __future__ import annotations

import logging
from typing import Any

from celery import shared_task
from celery.exceptions import Ignore

from igny8_backup.errors import IncompleteError
from igny8_backup.manifest import RUNNING
from igny8_backup.operations.assembly import Toolkit, assemble
from igny8_backup.operations.backup import BackupRequest, run_backup
from igny8_backup.operations.backup_tree import TreeRequest
from igny8_backup.operations.choosing import choose, choose_trees
from igny8_backup.operations.progress import Silence

logger = logging.getLogger(__name__)


class LogProgress(Silence):
    """A progress that logs what is to be read: the worker's log is all that anybody sees of a task."""

    def note(self, text: str) -> None:
        logger.warning("%s", text)


@shared_task(bind=True, name="igny8_backup.backup_db", acks_late=False, ignore_result=False)
def backup_db(self: Any, *aliases: str, label: str = "") -> dict[str, Any]:
    """Backs up the databases ``aliases``, by default all. Returns what was done; raises ``BackupError``."""
    with assemble(progress=LogProgress(), writing=True) as kit:
        chosen = choose(aliases, kit.config.databases, "database")
        return _run(kit, BackupRequest(databases=chosen, label=label, task_id=self.request.id or ""))


@shared_task(bind=True, name="igny8_backup.backup_sites", acks_late=False, ignore_result=False)
def backup_sites(
    self: Any, *names: str, logs: bool = False, full: bool = False, label: str = ""
) -> dict[str, Any]:
    """Backs up the trees ``names``, by default all ``SITES``, with ``logs`` those in ``LOGS`` as well; with
    ``full`` every file anew, not only what has changed."""
    with assemble(progress=LogProgress(), writing=True) as kit:
        trees = choose_trees(kit.config, names, logs=logs)
        request = BackupRequest(
            trees=trees, reading=TreeRequest(full=full), label=label, task_id=self.request.id or ""
        )
        return _run(kit, request)


@shared_task(bind=True, name="igny8_backup.backup_all", acks_late=False, ignore_result=False)
def backup_all(self: Any, logs: bool = False, full: bool = False, label: str = "") -> dict[str, Any]:
    """Backs up every database, then every tree, under one id; ``full`` as with ``backup_sites``."""
    with assemble(progress=LogProgress(), writing=True) as kit:
        trees = (*kit.config.sites, *(kit.config.logs if logs else ()))
        request = BackupRequest(
            databases=kit.config.databases,
            trees=trees,
            reading=TreeRequest(full=full),
            label=label,
            task_id=self.request.id or "",
        )
        return _run(kit, request)


def _run(kit: Toolkit, request: BackupRequest) -> dict[str, Any]:
    result = run_backup(kit, request)
    if result.earlier and result.earlier.outcome == RUNNING:
        # The first delivery is at work and will say how it ended; nobody shall read "success" before.
        raise Ignore
    if result.earlier and result.earlier.errors:
        failed = ", ".join(f"{name} ({kind})" for name, kind in result.earlier.errors.items())
        raise IncompleteError(f"This task was delivered before, as run {result.id}: {failed} failed.")
    if result.errors:
        failed = " ".join(f"{name}: {error}" for name, error in result.errors.items())
        raise IncompleteError(f"Backup {result.id} lacks parts. {failed}")
    return {
        "id": result.id,
        "repeated": result.earlier is not None,
        "skipped": len(result.skipped),
        "stored_bytes": result.manifest.stored_bytes if result.manifest else 0,
    }
