"""Celery tasks for the same operations as the commands. If the operation fails, the task fails.

A broker may deliver a task twice. Redis does so if a task is not acknowledged within the visibility timeout,
which a long queue or a long backup can exceed. The id of a backup is derived from the id of its task, so the
second delivery finds the backup and does nothing. The other tasks may safely run twice.
"""

from __future__ import annotations

from typing import Any

from celery import shared_task

from igny8_backup.conf import STORAGE_ALIAS, get_config
from igny8_backup.errors import IncompleteError, IntegrityError, UnhealthyError
from igny8_backup.humanize import count_in_words
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.context import open_context
from igny8_backup.operations.copies.heal import heal
from igny8_backup.operations.copies.run import choose_copies
from igny8_backup.operations.copies.run import copy_backups as copy_to
from igny8_backup.operations.locking.lock_wait import UNATTENDED_WAIT
from igny8_backup.operations.maintain.pin import pin
from igny8_backup.operations.maintain.prune import prune
from igny8_backup.operations.monitor.summary import send_summary
from igny8_backup.operations.selection import choose_databases, choose_trees
from igny8_backup.operations.spot_check.run import SpotRequest
from igny8_backup.operations.spot_check.run import spot_check as compare_live
from igny8_backup.operations.status.refresh import refresh_status, refreshing_status
from igny8_backup.operations.verify.result import VerifyRequest, parse_percent
from igny8_backup.operations.verify.run import verify_backups
from igny8_backup.task_run import back_up, run_reported, what_backup_left

_NOTHING = "Nothing was changed."
_VERIFIED = f"{_NOTHING} Results that were not stored yet are missing."
_COPIED = "Copies that were complete stay. The next copy_backups continues."
_PRUNED = "Backups that were already removed stay removed; the next prune_backups continues."


@shared_task(name="igny8_backup.backup_db", acks_late=False, ignore_result=False)
def backup_db(
    *aliases: str,
    label: str = "",
    wait: float = UNATTENDED_WAIT,
    yield_after: float | None = None,
    skip_if_running: bool = False,
    ping: str = "",
) -> dict[str, Any]:
    """Back up the databases ``aliases``, by default all.

    ``wait`` is how many seconds to wait for another run to end; ``ping`` is the URL of a monitoring service.
    ``yield_after`` replaces the setting ``YIELD_AFTER``. With ``skip_if_running``, no backup is made while
    this host is making the same one. Returns the id of the backup, its size in bytes and the number of
    skipped files. Raises ``BackupError``.
    """
    with run_reported("backup_db", ping, what_backup_left) as report:
        request = BackupRequest(
            databases=choose_databases(get_config(), aliases),
            label=label,
            yield_after=yield_after,
            skip_if_running=skip_if_running,
        )
        return back_up(request, wait, report)


@shared_task(name="igny8_backup.backup_sites", acks_late=False, ignore_result=False)
def backup_sites(
    *names: str,
    logs: bool = False,
    full: bool = False,
    label: str = "",
    wait: float = UNATTENDED_WAIT,
    skip_if_running: bool = False,
    ping: str = "",
) -> dict[str, Any]:
    """Back up the trees ``names``, by default all of ``SITES``; with ``logs`` also those of ``LOGS``.

    ``full`` stores every file again, changed or not. The other arguments and the result are those of
    ``backup_db``.
    """
    with run_reported("backup_sites", ping, what_backup_left) as report:
        request = BackupRequest(
            trees=choose_trees(get_config(), names, logs=logs),
            full=full,
            label=label,
            skip_if_running=skip_if_running,
        )
        return back_up(request, wait, report)


@shared_task(name="igny8_backup.backup_all", acks_late=False, ignore_result=False)
def backup_all(
    logs: bool = False,
    full: bool = False,
    label: str = "",
    wait: float = UNATTENDED_WAIT,
    yield_after: float | None = None,
    skip_if_running: bool = False,
    ping: str = "",
) -> dict[str, Any]:
    """Back up all databases, then all trees, as one backup. The arguments are those of the tasks above."""
    with run_reported("backup_all", ping, what_backup_left) as report:
        config = get_config()
        request = BackupRequest(
            databases=config.databases,
            trees=(*config.sites, *(config.logs if logs else ())),
            full=full,
            label=label,
            yield_after=yield_after,
            skip_if_running=skip_if_running,
        )
        return back_up(request, wait, report)


@shared_task(name="igny8_backup.copy_backups", acks_late=False, ignore_result=False)
def copy_backups(*names: str, ping: str = "") -> dict[str, Any]:
    """Bring the copies ``names`` up to date (default: all in ``COPIES``).

    Each copy receives the backups that it lacks. Returns the number of copied ``backups`` and ``objects``,
    and their size in ``bytes``. Raises ``IncompleteError`` if something could not be copied.
    """
    with run_reported("copy_backups", ping, _COPIED) as report, open_context(progress=report) as context:
        result = copy_to(context, choose_copies(context, names))
        if not result.complete:
            report.fail(*result.problems(), alarms=result.alarms)
            raise IncompleteError(" ".join(result.problems()))
        return {
            "backups": sum(len(copy.copied) for copy in result.copies),
            "objects": sum(copy.objects for copy in result.copies),
            "bytes": sum(copy.bytes for copy in result.copies),
        }


@shared_task(name="igny8_backup.verify_backup", acks_late=False, ignore_result=False)
def verify_backup(
    backup_id: str = "",
    sample: int | str = 100,
    every: bool = False,
    ping: str = "",
    from_storage: str = STORAGE_ALIAS,
) -> dict[str, Any]:
    """Read the objects of a backup in storage and compare them with its manifest. No key is needed.

    Verifies the backup ``backup_id``; with ``every``, all backups; by default, the newest backup of each
    database and tree of each host. ``sample`` is the share of the objects to read, in percent: 5 or "5%".
    ``from_storage`` is the alias of another storage, or the name of a copy in ``COPIES``. Raises
    ``UsageError`` if an argument is invalid, ``IntegrityError`` if a backup is damaged, and
    ``IncompleteError`` if one could not be verified or is gone.
    """
    with (
        run_reported("verify_backup", ping, _VERIFIED) as report,
        open_context(progress=report, storage_alias=from_storage) as context,
        refreshing_status(context, "a verification"),
    ):
        request = VerifyRequest(backup_id=backup_id, sample=parse_percent(sample))
        found = verify_backups(context, request, every=every)
        report.cover(*found.scope(every=every, one=bool(backup_id)))
        if not found.complete:
            report.fail(*found.problems(), alarms=found.alarms)
        if found.damaged:
            raise IntegrityError(
                f"Backups in storage are damaged. {' '.join(found.problems())}",
                unchanged="Nothing was changed.",
                hint="Make a new backup now. With COPIES, prune_backups copies the damaged objects"
                " back. Otherwise copy them back from another copy of the storage, if there is one.",
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
def prune_backups(
    wait: float = UNATTENDED_WAIT, ping: str = "", from_storage: str = STORAGE_ALIAS
) -> dict[str, Any]:
    """Remove the backups that the retention policy no longer keeps, and orphans (objects without a backup).

    ``from_storage`` is the alias of another storage to prune, or the name of a copy in ``COPIES``. First,
    damaged and missing objects are copied back from the other storages in ``COPIES``. Returns the ids of the
    removed backups (``removed``), the number of removed orphans (``swept``), the number of orphans that are
    left to a later run (``waiting``), and the number of objects copied back (``healed``). Raises
    ``IncompleteError`` if a backup or orphan could not be removed.
    """
    with (
        run_reported("prune_backups", ping, _PRUNED) as report,
        open_context(progress=report, wait=wait, storage_alias=from_storage, changing=True) as context,
        refreshing_status(context, "a prune"),
    ):
        healed = heal(context).healed
        result = prune(context)
        if not result.complete:
            removed = count_in_words(len(result.removed), "backup")
            raise IncompleteError(f"{removed} removed. {' '.join(result.problems())}")
        return {
            "removed": list(result.removed),
            "swept": len(result.swept),
            "waiting": len(result.waiting),
            "healed": len(healed),
        }


@shared_task(name="igny8_backup.pin_backup", acks_late=False, ignore_result=False)
def pin_backup(backup_id: str, reason: str, wait: float = UNATTENDED_WAIT, ping: str = "") -> dict[str, Any]:
    """Keep a backup, whatever the retention policy says. Raises the errors of ``maintain.pin.pin``."""
    with (
        run_reported("pin_backup", ping, _NOTHING) as report,
        open_context(progress=report, wait=wait) as context,
        refreshing_status(context, "pinning a backup"),
    ):
        return {"id": pin(context, backup_id, reason).id}


@shared_task(name="igny8_backup.spot_check", acks_late=False, ignore_result=False)
def spot_check(*names: str, ping: str = "") -> dict[str, Any]:
    """Compare what is live on this host with its newest backups, by default all databases and trees.

    Returns how many databases and trees were compared. Raises ``UnhealthyError`` if a difference is so large
    that it is an alarm, or if something could not be compared.
    """
    with run_reported("spot_check", ping, _NOTHING) as report, open_context(progress=report) as context:
        found = compare_live(context, SpotRequest(names=names))
        report.cover(*(part.name for part in found.parts))
        if not found.complete:
            report.fail(*found.problems(), alarms=found.alarms)
            hint = "Look at the live data. If it is right, run accept_backup."
            raise UnhealthyError(" ".join(found.problems()), unchanged="Nothing was removed.", hint=hint)
        return {"compared": len(found.parts)}


@shared_task(name="igny8_backup.monitor_backups", acks_late=False, ignore_result=False)
def monitor_backups(ping: str = "") -> dict[str, Any]:
    """Check the age, size and health of all backups. Raises ``UnhealthyError``, which lists the problems."""
    with (
        run_reported("monitor_backups", ping, _NOTHING) as report,
        open_context(progress=report, brief=True) as context,
    ):
        health = refresh_status(context)
        if problem := send_summary(context.config, health):
            report.note(problem)
        if health.failed:
            report.fail(*health.problems(), alarms=health.alarms)
            hint = "Show all conditions: python manage.py monitor_backups."
            raise UnhealthyError(" ".join(health.problems()), unchanged="Nothing was changed.", hint=hint)
        return {"healthy": True, "conditions": len(health.conditions)}
