"""A queued task that is delivered twice runs once."""

from __future__ import annotations

from igny8_backup.formats.manifest import RUNNING, STOPPED, RunRecord
from igny8_backup.operations.context import BackupContext


def find_redelivery(context: BackupContext, task_id: str, *, locked: bool) -> RunRecord | None:
    """The run of an earlier delivery of the same task, where it ended or is still at work. ``locked``: the
    locks are ours, so that a run which never ended is one that died; its work is still to do.
    """
    place = context.store.local_path()
    if not task_id or (place is not None and not place.exists()):
        return None  # the first backup of all makes the folder that holds them
    run = context.catalog.run_of_task(task_id)
    if run is None:
        return None
    at_work = not locked and run.is_alive(context.clock())
    return run if at_work or run.outcome not in (RUNNING, STOPPED) else None
