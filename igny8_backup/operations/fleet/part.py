"""Make one host's part of a fleet backup. Entry point: :func:`run_part`."""

from __future__ import annotations

from dataclasses import dataclass

from igny8_backup.catalog.fleets import read_fleet
from igny8_backup.errors import BackupError, UsageError
from igny8_backup.formats import keys
from igny8_backup.formats.documents.fleet import FleetPart, part_task
from igny8_backup.formats.manifest import FAILED, RUNNING
from igny8_backup.operations.backup.request import BackupRequest, BackupResult
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.backup.run_record import RunRecorder
from igny8_backup.operations.context import BackupContext

_UNCHANGED = "Nothing was backed up."


@dataclass(frozen=True, kw_only=True)
class PartRequest:
    """The part that the coordinator of the fleet backup ``fleet`` asks the host ``host`` for.

    ``full`` and ``label`` are those of a ``BackupRequest``.
    """

    fleet: str
    host: str
    databases: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    full: bool = False
    label: str = ""


def run_part(context: BackupContext, request: PartRequest) -> BackupResult | None:
    """Back up the databases or the trees of this host as its part of a fleet backup.

    Returns ``None``, and does nothing, if the coordinator has given the part up meanwhile: a queue can
    deliver a task hours later. A task that is delivered twice makes one backup. If the part cannot be begun,
    the failure is recorded for the coordinator.

    Raises ``UsageError`` if the task is for another host, if there is no such fleet backup, or if this host
    lacks one of the databases and trees; and the errors of ``run_backup``.
    """
    part = FleetPart(host=request.host, databases=request.databases, trees=request.trees)
    if request.host != context.config.host:
        raise UsageError(
            f"This host is {context.config.host!r}, but the task is for {request.host!r}.",
            unchanged=_UNCHANGED,
            hint="Let the workers of each host listen to the queue of that host only, and set HOST on each.",
        )
    if not _is_awaited(context, request.fleet, part):
        return None
    task_id = part_task(request.fleet, part.host, part.kind)
    backup = BackupRequest(
        databases=request.databases,
        trees=request.trees,
        full=request.full,
        label=request.label,
        task_id=task_id,
        fleet=request.fleet,
    )
    config = context.config
    known = {*config.databases} if part.databases else {*config.sites, *config.logs}
    if unknown := [name for name in part.names if name not in known]:
        error = UsageError(
            f"The settings of this host have no {part.kind} {unknown[0]!r}.",
            unchanged=_UNCHANGED,
            hint="Use the same HOSTS in the settings of every host, and restart the workers.",
        )
        _record_failure(context, backup, error)
        raise error
    return run_backup(context, backup)


def _is_awaited(context: BackupContext, fleet_id: str, part: FleetPart) -> bool:
    """Return whether the coordinator still waits for ``part``. Raises ``UsageError`` for an unknown id."""
    fleet = read_fleet(context.store, context.config.trust, fleet_id) if keys.is_id(fleet_id) else None
    if fleet is None:
        raise UsageError(
            f"There is no fleet backup {fleet_id!r} in {context.store.describe()}.",
            unchanged=_UNCHANGED,
            hint="Use the same storage and PREFIX in the settings of every host.",
        )
    known = fleet.record.part_of(part.host, part.kind)
    if known and not known.ended and fleet.record.outcome == RUNNING:
        return True
    context.progress.note(
        f"The fleet backup {fleet_id} does not wait for this part any more: {part.describe()}."
    )
    return False


def _record_failure(context: BackupContext, request: BackupRequest, error: BackupError) -> None:
    """Store the record of a run that could not begin. A storage error is only noted."""
    now = context.clock()
    backup_id = keys.make_id(now, keys.task_token(request.task_id))
    recorder = RunRecorder(context, request, backup_id, now, (), context.load_signing_key())
    try:
        recorder.claim_id()
    except BackupError as failure:
        context.progress.note(f"The record of this run was not stored. {failure}")
    else:
        recorder.finish(FAILED, {"run": error})
