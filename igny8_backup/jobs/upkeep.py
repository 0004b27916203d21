"""The tasks that verify, drill, copy, prune, pin and monitor backups. Each of them may safely run twice."""

from __future__ import annotations

from typing import Any

from igny8_backup.common.humanize import count_in_words
from igny8_backup.conf import STORAGE_ALIAS
from igny8_backup.errors import IncompleteError, IntegrityError, UnhealthyError
from igny8_backup.jobs.reporting import run_reported
from igny8_backup.operations.context import open_context
from igny8_backup.operations.copies.heal import heal
from igny8_backup.operations.copies.run import choose_copies
from igny8_backup.operations.copies.run import copy_backups as copy_to
from igny8_backup.operations.drill.run import DrillRequest, drill
from igny8_backup.operations.locking.lock_wait import UNATTENDED_WAIT
from igny8_backup.operations.maintain.pin import pin
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.monitor.summary import send_summary
from igny8_backup.operations.spot_check.result import SpotRequest
from igny8_backup.operations.spot_check.run import spot_check as compare_live
from igny8_backup.operations.status.refresh import refresh_status, refreshing_status
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify_backups
from igny8_backup.operations.verify.sample import parse_percent

_NOTHING = "Nothing was changed."
_VERIFIED = f"{_NOTHING} Results that were not stored yet are missing."
_DRILLED = "Nothing live was changed. The next drill_backup removes what the drill left."
_COPIED = "Copies that were complete stay. The next copy_backups continues."
_PRUNED = "Backups that were already removed stay removed; the next prune_backups continues."


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


def verify_backup(
    backup_id: str = "",
    sample: int | str = 100,
    every: bool = False,
    ping: str = "",
    from_storage: str = STORAGE_ALIAS,
    older_packs: bool = False,
) -> dict[str, Any]:
    """Read the objects of a backup in storage and compare them with its manifest. No key is needed.

    Verifies the backup ``backup_id``; with ``every``, all backups; by default, the newest backup of each
    database and tree of each host. ``sample`` is the share of the objects to read, in percent: 5 or "5%".
    ``from_storage`` is the alias of another storage, or the name of a copy in ``COPIES``. ``older_packs`` is
    the option of the command. Raises ``UsageError`` if an argument is invalid, ``IntegrityError`` if a backup
    is damaged, and ``IncompleteError`` if one could not be verified or is gone.
    """
    with (
        run_reported("verify_backup", ping, _VERIFIED) as report,
        open_context(progress=report, storage_alias=from_storage) as opened,
        refreshing_status(opened, "a verification") as context,
    ):
        request = VerifyRequest(backup_id=backup_id, sample=parse_percent(sample), older_packs=older_packs)
        found = verify_backups(context, request, every=every)
        report.cover(*found.scope(every=every, one=bool(backup_id)))
        if not found.complete:
            report.fail(*found.problems(), alarms=found.alarms)
        if found.damaged:
            raise IntegrityError(
                f"Backups in storage are damaged. {' '.join(found.problems())}",
                unchanged="Nothing was changed.",
                hint="Make a new backup now. If COPIES is set, prune_backups copies the damaged objects"
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


def drill_backup(
    backup_id: str = "",
    owners: bool = True,
    migrate: bool = True,
    own_server: bool = False,
    wait: float = UNATTENDED_WAIT,
    ping: str = "",
) -> dict[str, Any]:
    """Restore a backup beside what is live, compare, and remove the copy.

    Without ``backup_id``, the newest copy of everything is restored. The worker needs the private key:
    ``IDENTITY_FILE``. The arguments are the options of the command. Returns the ids of the backups. Raises
    ``IntegrityError`` if one is damaged, ``IncompleteError`` if something could not be compared, and the
    errors of ``drill``.
    """
    with (
        run_reported("drill_backup", ping, _DRILLED) as report,
        open_context(progress=report, wait=wait) as opened,
        refreshing_status(opened, "a drill") as context,
    ):
        request = DrillRequest(backup_id=backup_id, owners=owners, migrate=migrate, own_server=own_server)
        found = drill(context, request)
        report.cover(*found.scope)
        if not found.complete:
            report.fail(*found.problems(), alarms=found.alarms)
        if found.damaged:
            raise IntegrityError(
                f"What was restored differs from what was backed up. {' '.join(found.problems())}",
                unchanged="Nothing live was changed.",
                hint="Make a new backup now, and drill it.",
            )
        if not found.complete:
            raise IncompleteError(" ".join(found.problems()))
        return {"ids": [result.check.id for result in found.results]}


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
        open_context(progress=report, wait=wait, storage_alias=from_storage, changing=True) as opened,
        refreshing_status(opened, "a prune") as context,
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


def pin_backup(backup_id: str, reason: str, wait: float = UNATTENDED_WAIT, ping: str = "") -> dict[str, Any]:
    """Keep a backup, whatever the retention policy says. Raises the errors of ``maintain.pin.pin``."""
    with (
        run_reported("pin_backup", ping, _NOTHING) as report,
        open_context(progress=report, wait=wait) as opened,
        refreshing_status(opened, "pinning a backup") as context,
    ):
        return {"id": pin(context, backup_id, reason).id}


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
