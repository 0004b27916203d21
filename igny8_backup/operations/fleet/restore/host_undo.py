"""Undo the part of one host of a fleet restore."""

from __future__ import annotations

from igny8_backup.common.humanize import one_line
from igny8_backup.errors import BackupError, UsageError
from igny8_backup.formats.documents.fleet_restore import (
    PLANNED,
    REFUSED,
    SWAPPED,
    WITHDRAWN,
    FleetRestore,
    HostRestore,
)
from igny8_backup.journal import UNDOING, UNDONE, Journal
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.fleet.restore.host_plan import undone_parts
from igny8_backup.operations.fleet.restore.recorder import Recorder, write_swapped
from igny8_backup.operations.fleet.restore.waiting import wait_for_decision
from igny8_backup.operations.restore.workers import WorkersPolicy
from igny8_backup.operations.undo.plan import UndoPlan, plan_undo
from igny8_backup.operations.undo.run import undo


def undo_host(
    context: BackupContext, record: FleetRestore, recorder: Recorder[HostRestore], policy: WorkersPolicy
) -> None:
    """Answer with the plan of the undo, wait for the decision, and undo.

    A host whose restore was undone already has nothing to do, and neither has a host that has completed this
    fleet undo before, whatever was done there since. If the decision was made earlier, the undo of this host
    is completed. Raises the errors of ``undo``.
    """
    try:
        journal = _find(context, record)
        completed = journal.fleet_undo == record.id and journal.phase != UNDOING
        if completed or journal.phase == UNDONE:
            note = "The restore of this host was undone already."
            recorder.write(state=SWAPPED, stamp=journal.stamp, notes=(note,), error="", unfinished=False)
            return
        plan = plan_undo(context, journal.stamp)
    except BackupError as error:
        recorder.write(state=REFUSED, blockers=(one_line(str(error)),))
        return
    if not record.decided:
        recorder.write(state=PLANNED, stamp=journal.stamp, parts=undone_parts(plan))
        if not wait_for_decision(context, record):
            recorder.write(state=WITHDRAWN)
            return
    _undo(context, recorder, policy, plan)


def _undo(
    context: BackupContext, recorder: Recorder[HostRestore], policy: WorkersPolicy, plan: UndoPlan
) -> None:
    result = undo(context, policy, plan=plan)
    write_swapped(recorder, plan.journal.stamp, warnings=result.warnings, stopped=result.stopped)


def _find(context: BackupContext, record: FleetRestore) -> Journal:
    """Return the journal of the fleet restore that is undone. Raises ``UsageError`` if it is gone."""
    found = [item for item in context.journals.all() if item.fleet == record.undoes]
    if not found:
        raise UsageError(
            f"This host keeps no data from before the fleet restore {record.undoes}.",
            hint="Its data may have been discarded: undo_restore --discard. Restore a backup instead.",
        )
    return found[-1]
