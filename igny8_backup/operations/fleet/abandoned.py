"""Complete the records of fleet backups whose coordinator was killed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from igny8_backup.catalog.fleets import read_fleets
from igny8_backup.errors import StorageError
from igny8_backup.formats.documents.fleet import WAITING, FleetPart, FleetRecord
from igny8_backup.formats.manifest import FAILED, RUNNING
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.fleet.part_runs import PartRuns
from igny8_backup.operations.fleet.record import FleetRecorder
from igny8_backup.signing.signing_key import SigningKey

LONGEST = timedelta(days=30)
"""Older fleet backups are not looked at: their records stay as they are."""


def complete_abandoned(context: BackupContext, signing_key: SigningKey | None) -> list[FleetRecord]:
    """Complete the record of every fleet backup whose coordinator has stopped, and whose parts have ended.

    The caller holds the lock in the storage, so no other coordinator is at work. A part that its host has
    stored counts, a part that is missing is failed. Returns the completed records. A storage error is only
    noted.
    """
    now, completed = context.clock(), []
    try:
        found = read_fleets(context.store, context.config.trust, since=now - LONGEST)
        for fleet in found:
            record = fleet.record
            if record.outcome != RUNNING:
                continue
            runs = PartRuns(context, record.id)
            runs.refresh()
            parts = tuple(_settled(runs, part) for part in record.parts)
            if any(part.state == RUNNING for part in parts):
                continue
            recorder = FleetRecorder(context, replace(record, parts=parts), signing_key)
            done = recorder.finish()
            completed.append(done)
            context.progress.note(
                f"The coordinator of the fleet backup {done.id} was stopped before it ended. Its record was"
                f" completed: {done.outcome}."
            )
    except StorageError as error:
        context.progress.note(f"Earlier fleet backups could not be looked at. {error}")
    return completed


def complete_stopped(context: BackupContext, record: FleetRecord, signing_key: SigningKey | None) -> bool:
    """Complete the record of a coordinator that is being stopped, unless a host is making its part.

    Parts that no host has begun are failed. A task that arrives later does nothing. Returns whether the
    record was completed. A storage error is only noted.
    """
    try:
        runs = PartRuns(context, record.id)
        runs.refresh()
        parts = tuple(_settled(runs, part) for part in record.parts)
        if any(part.state == RUNNING for part in parts):
            return False
        done = FleetRecorder(context, replace(record, parts=parts), signing_key).finish()
    except StorageError as error:
        context.progress.note(f"The record of this fleet backup could not be completed. {error}")
        return False
    context.progress.note(
        f"The fleet backup {done.id} was stopped: {done.outcome}. The parts that hosts have stored are kept."
    )
    return True


def _settled(runs: PartRuns, part: FleetPart) -> FleetPart:
    """Return ``part`` with the result that its host has recorded; ``running`` if the host still works."""
    settled = runs.settle(part)
    if settled.state != WAITING:
        return settled
    return replace(part, state=FAILED, reason="the coordinator was stopped before the host began")
