"""The tasks of fleet backups: the coordinator, and the part of one host."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from igny8_backup.celery.send import send_task
from igny8_backup.conf import SETTING, Config, get_config
from igny8_backup.errors import IncompleteError, RefusedError
from igny8_backup.formats.manifest import RUNNING
from igny8_backup.jobs.backup import finish_backup, what_is_left
from igny8_backup.jobs.reporting import run_reported
from igny8_backup.operations.context import open_context
from igny8_backup.operations.fleet.coordinate import run_fleet
from igny8_backup.operations.fleet.hosts import note_problems
from igny8_backup.operations.fleet.part import PartRequest, run_part
from igny8_backup.operations.fleet.request import END_WITHIN, START_WITHIN, FleetRequest
from igny8_backup.operations.locking.lock_wait import UNATTENDED_WAIT
from igny8_backup.operations.status.refresh import refreshing_status

_LEFT = "The hosts complete their parts. The next backup_fleet completes the record of this fleet backup."
_PART_WAIT = 600
"""How many seconds the part of a host waits for another run on this host to end."""


def backup_fleet(
    delivery: str,
    queue: str,
    *hosts: str,
    logs: bool = False,
    full: bool = False,
    label: str = "",
    start_within: float = START_WITHIN.total_seconds(),
    end_within: float = END_WITHIN.total_seconds(),
    wait: float = UNATTENDED_WAIT,
    ping: str = "",
) -> dict[str, Any] | None:
    """Back up ``hosts`` as one fleet backup, by default all that ``HOSTS`` declares with a queue.

    ``queue`` is the queue through which the task came. ``start_within`` and ``end_within`` are how many
    seconds a host may take to begin and to end its part. The other arguments have the same meaning as for
    ``backup_all``. Returns the id of the fleet backup and the number of its parts; ``None`` if an earlier
    delivery of the same task is still at work. Raises ``RefusedError`` if ``queue`` is that of a host,
    ``IncompleteError`` if a part failed, and other subclasses of ``BackupError``.
    """
    with run_reported("backup_fleet", ping, _LEFT) as report:
        request = FleetRequest(
            hosts=hosts,
            logs=logs,
            full=full,
            label=label,
            start_within=timedelta(seconds=start_within),
            end_within=timedelta(seconds=end_within),
            task_id=delivery,
        )
        config = get_config()
        _refuse_queue_of_a_host(config, queue)
        note_problems(config, report, hosts)
        with open_context(progress=report, writing=True, wait=wait) as context:
            result = run_fleet(context, request, send_task)
        record = result.record
        if result.repeated:
            report.suppress()
            if record.outcome == RUNNING:
                return None
        if not result.complete:
            report.fail(*result.problems(), alarms=result.alarms)
            raise IncompleteError(f"Fleet backup {record.id} is incomplete. {' '.join(result.problems())}")
        return {"id": record.id, "repeated": result.repeated, "parts": len(record.parts)}


def _refuse_queue_of_a_host(config: Config, queue: str) -> None:
    """Raise ``RefusedError`` if ``queue`` is that of a host, whose worker could wait for itself."""
    for name, host in config.fleet.items():
        if host.queue == queue:
            raise RefusedError(
                f"The task backup_fleet came through {queue!r}, which is the queue of the host {name!r} in"
                f" {SETTING}['HOSTS']. A worker with one process would wait there for a task that it takes"
                " only when this one has ended.",
                unchanged="Nothing was backed up.",
                hint="Send the task to a queue of its own, with a worker of its own:"
                ' beat_schedule(fleet="backup-fleet").',
            )


def backup_fleet_part(delivery: str, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """Make the part of a fleet backup that ``arguments`` describe: the fields of a ``PartRequest``.

    Returns the id of the backup, its size in bytes and the number of skipped files; the id is empty if the
    coordinator no longer waits for the part. ``None`` if an earlier delivery of the same task is still at
    work. Raises ``BackupError``.
    """
    request = PartRequest(
        fleet=str(arguments["fleet"]),
        host=str(arguments["host"]),
        databases=tuple(map(str, arguments.get("databases", ()))),
        trees=tuple(map(str, arguments.get("trees", ()))),
        full=bool(arguments.get("full", False)),
        label=str(arguments.get("label", "")),
    )
    get_config()
    with run_reported("backup_fleet_part", "", partial(what_is_left, delivery)) as report:
        report.cover(*request.databases, *request.trees)
        with (
            open_context(progress=report, writing=True, wait=_PART_WAIT) as opened,
            refreshing_status(opened) as context,
        ):
            result = run_part(context, request)
            if result is None:
                report.suppress()
                return {"id": "", "repeated": True, "skipped": 0, "stored_bytes": 0}
            return finish_backup(context, result, report, delivery)
