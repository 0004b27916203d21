"""Coordinate a fleet restore or its undo. See :func:`coordinating` and :func:`settle_earlier`.

The record in the storage decides: as soon as it has the phase ``swapping``, the restore is completed on every
host, whatever is killed. Until then nothing live has changed on any host, and every failure cancels it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

from igny8_backup.errors import LockedError, RefusedError
from igny8_backup.formats import keys
from igny8_backup.formats.documents.fleet_restore import (
    CANCELLED,
    DONE,
    RESTORE,
    SCHEMA,
    FleetRestore,
)
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.fleet.request import START_WITHIN, Sender
from igny8_backup.operations.fleet.restore.choose import (
    choose_fleet,
    choose_hosts,
    choose_restored,
    find_unfinished,
    require_queues,
)
from igny8_backup.operations.fleet.restore.coordinator import NOTHING, Coordinator
from igny8_backup.operations.fleet.restore.recorder import Recorder
from igny8_backup.operations.fleet.restore.request import FleetRestoreRequest, FleetRestoreResult
from igny8_backup.signing.signing_key import SigningKey

_CONFIRM_WITHIN = timedelta(hours=1)
"""How long the hosts keep their plans while the operator reads them."""
_DOING = "the coordination of a fleet restore"


def settle_earlier(context: BackupContext, send: Sender) -> FleetRestoreResult | None:
    """Complete or cancel the fleet restores whose coordinator was killed.

    One that was decided is completed, and its result is returned. If a host still cannot complete its part,
    the result names it, and the next call does not try again. Returns ``None`` if there is nothing to
    complete. Raises ``LockedError`` if a fleet restore is under way, and the errors of :func:`coordinating`.
    """
    for record in find_unfinished(context):
        if record.is_alive(context.clock()):
            raise LockedError(f"The fleet restore {record.id} is under way, coordinated on {record.host}.")
        key = _signing_key(context)
        record = replace(record, host=context.config.host, finished=None)
        with (
            replace(context, fleet=record.id).locked(_DOING, coordinates=True) as locks,
            Recorder(context, key, record) as recorder,
        ):
            if record.decided:
                context.progress.note(
                    f"The coordinator of the fleet restore {record.id} was stopped after the decision."
                    " Completing it now."
                )
                recorder.write()
                result = Coordinator(context, recorder, send, locks, START_WITHIN).complete(again=True)
                if not result.complete:
                    recorder.write(phase=DONE, finished=context.clock())
                return replace(result, resumed=True)
            recorder.write(phase=CANCELLED, finished=context.clock())
            context.progress.note(
                f"The coordinator of the fleet restore {record.id} was stopped before the decision. It was"
                f" cancelled. {NOTHING}"
            )
    return None


@contextmanager
def coordinating(context: BackupContext, request: FleetRestoreRequest, send: Sender) -> Iterator[Coordinator]:
    """Begin a fleet restore or its undo, and hold its lock until the block ends; yield the coordinator.

    ``send`` sends a task to the queue of a host. If the block ends before the decision, the fleet restore is
    cancelled. Raises ``UsageError`` if there is nothing to restore or a host has no queue; ``RefusedError``
    if the hosts would not trust this one; ``LockedError`` if another run holds the lock; ``StorageError``.
    """
    request.check()
    key = _signing_key(context)
    record, notes = _begin(context, request)
    failed: BaseException | None = None
    with (
        replace(context, fleet=record.id).locked(_DOING, coordinates=True) as locks,
        Recorder(context, key, record) as recorder,
    ):
        coordinator = Coordinator(
            context, recorder, send, locks, request.start_within, request.end_within, notes
        )
        try:
            yield coordinator
        except BaseException as error:
            coordinator.cancel()
            if not coordinator.record.ended:
                raise  # the hosts may be swapping, so the lock stays until it expires
            failed = error
        else:
            coordinator.cancel()
    if failed is not None:
        raise failed


def _begin(context: BackupContext, request: FleetRestoreRequest) -> tuple[FleetRestore, tuple[str, ...]]:
    """Return the new record, not stored yet, and notes for the plan."""
    undoes, notes = "", list[str]()
    if request.action == RESTORE:
        fleet, notes = choose_fleet(context, request.id)
        hosts, more = choose_hosts(context, fleet, request.by_hand)
        notes, fleet_id = [*notes, *more], fleet.record.id
    else:
        restored = choose_restored(context, request.id)
        hosts, fleet_id, undoes = restored.hosts, restored.fleet, restored.id
        instead = "If the host is gone or was renamed, run undo_restore on each host, without --fleet."
        require_queues(context, hosts, request.by_hand, instead)
    now = context.clock()
    record = FleetRestore(
        schema=SCHEMA,
        id=keys.make_id(now, context.token()),
        action=request.action,
        fleet=fleet_id,
        host=context.config.host,
        environment=context.config.environment,
        started=now,
        heartbeat=now,
        decide_before=now + request.start_within + _CONFIRM_WITHIN,
        undoes=undoes,
        hosts=hosts,
        by_hand=request.by_hand,
        workers=request.workers.mode,
        stop_seconds=int(request.workers.seconds),
        migrate=request.migrate,
        allow_vulnerable=request.allow_vulnerable,
    )
    return record, tuple(notes)


def _signing_key(context: BackupContext) -> SigningKey | None:
    key = context.load_signing_key()
    if key is None and context.config.trust.required:
        raise RefusedError(
            "This host has no signing key, so the hosts would not trust the decision that it writes.",
            unchanged=NOTHING,
            hint="Coordinate the fleet restore on a host that signs its backups, or set"
            " IGNY8_BACKUP['SIGNING'] here.",
        )
    return key
