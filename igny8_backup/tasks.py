"""Register the work in ``jobs`` with Celery. If an operation fails, its task fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery import shared_task
from celery.exceptions import Ignore
from celery.signals import worker_init

from igny8_backup.celery import host_answer
from igny8_backup.jobs import backup, fleet, fleet_restore, upkeep
from igny8_backup.operations.fleet.request import END_WITHIN, START_WITHIN
from igny8_backup.operations.locking.lock_wait import UNATTENDED_WAIT

_OPTIONS: dict[str, Any] = {"acks_late": False, "ignore_result": False}

worker_init.connect(host_answer.register)


@shared_task(bind=True, name="igny8_backup.backup_db", **_OPTIONS)
def backup_db(
    self: Any,
    *aliases: str,
    label: str = "",
    wait: float = UNATTENDED_WAIT,
    yield_after: float | None = None,
    skip_if_running: bool = False,
    ping: str = "",
) -> dict[str, Any]:
    """Back up databases: see ``jobs.backup.backup_db``."""
    return _made(
        backup.backup_db(
            self.request.id or "",
            *aliases,
            label=label,
            wait=wait,
            yield_after=yield_after,
            skip_if_running=skip_if_running,
            ping=ping,
        )
    )


@shared_task(bind=True, name="igny8_backup.backup_sites", **_OPTIONS)
def backup_sites(
    self: Any,
    *names: str,
    logs: bool = False,
    full: bool = False,
    label: str = "",
    wait: float = UNATTENDED_WAIT,
    skip_if_running: bool = False,
    ping: str = "",
) -> dict[str, Any]:
    """Back up trees: see ``jobs.backup.backup_sites``."""
    return _made(
        backup.backup_sites(
            self.request.id or "",
            *names,
            logs=logs,
            full=full,
            label=label,
            wait=wait,
            skip_if_running=skip_if_running,
            ping=ping,
        )
    )


@shared_task(bind=True, name="igny8_backup.backup_all", **_OPTIONS)
def backup_all(
    self: Any,
    logs: bool = False,
    full: bool = False,
    label: str = "",
    wait: float = UNATTENDED_WAIT,
    ping: str = "",
    yield_after: float | None = None,
    skip_if_running: bool = False,
) -> dict[str, Any]:
    """Back up all databases and trees: see ``jobs.backup.backup_all``."""
    return _made(
        backup.backup_all(
            self.request.id or "",
            logs=logs,
            full=full,
            label=label,
            wait=wait,
            yield_after=yield_after,
            skip_if_running=skip_if_running,
            ping=ping,
        )
    )


@shared_task(bind=True, name="igny8_backup.backup_fleet", **_OPTIONS)
def backup_fleet(
    self: Any,
    *hosts: str,
    logs: bool = False,
    full: bool = False,
    label: str = "",
    start_within: float = START_WITHIN.total_seconds(),
    end_within: float = END_WITHIN.total_seconds(),
    wait: float = UNATTENDED_WAIT,
    ping: str = "",
) -> dict[str, Any]:
    """Back up several hosts as one backup: see ``jobs.fleet.backup_fleet``."""
    return _made(
        fleet.backup_fleet(
            self.request.id or "",
            (self.request.delivery_info or {}).get("routing_key") or "",
            *hosts,
            logs=logs,
            full=full,
            label=label,
            start_within=start_within,
            end_within=end_within,
            wait=wait,
            ping=ping,
        )
    )


@shared_task(bind=True, name="igny8_backup.backup_fleet_part", **_OPTIONS)
def backup_fleet_part(self: Any, **arguments: Any) -> dict[str, Any]:
    """Make this host's part of a fleet backup: see ``jobs.fleet.backup_fleet_part``.

    A later release may send further arguments, which this one ignores.
    """
    return _made(fleet.backup_fleet_part(self.request.id or "", arguments))


@shared_task(name="igny8_backup.restore_fleet_part", **_OPTIONS)
def restore_fleet_part(**arguments: Any) -> dict[str, Any]:
    """Do this host's part of a fleet restore: see ``jobs.fleet_restore.restore_fleet_part``.

    A later release may send further arguments, which this one ignores.
    """
    return _made(fleet_restore.restore_fleet_part(arguments))


def _registered(work: Callable[..., dict[str, Any]]) -> Any:
    register: Any = shared_task(name=f"igny8_backup.{work.__name__}", **_OPTIONS)
    return register(work)


copy_backups = _registered(upkeep.copy_backups)
verify_backup = _registered(upkeep.verify_backup)
drill_backup = _registered(upkeep.drill_backup)
prune_backups = _registered(upkeep.prune_backups)
pin_backup = _registered(upkeep.pin_backup)
spot_check = _registered(upkeep.spot_check)
monitor_backups = _registered(upkeep.monitor_backups)


def _made(result: dict[str, Any] | None) -> dict[str, Any]:
    """Return the result of a backup. Raises ``Ignore`` if another delivery is at work and sets the result."""
    if result is None:
        raise Ignore
    return result
