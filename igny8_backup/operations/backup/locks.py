"""Take the locks of a backup run; if the run gives up waiting for them, store a record that says so."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime

from igny8_backup.errors import BackupError, LockedError
from igny8_backup.formats import keys
from igny8_backup.formats.manifest import LOCKED
from igny8_backup.formats.run_record import RunRecord
from igny8_backup.locks import HeldLock
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run_record import RunRecorder, find_redelivery
from igny8_backup.operations.context import BackupContext


def take_locks(
    stack: ExitStack, context: BackupContext, request: BackupRequest
) -> list[HeldLock] | RunRecord:
    """Take the locks of a backup run; ``stack`` releases them when it is closed. Return the locks.

    If an earlier run for the same Celery task has ended or still goes on, the record of that run is returned
    instead. A run that gives up waiting for the locks stores a record, so that other hosts see that its
    backup is missing. Raises ``LockedError``.
    """
    asked = context.clock()
    try:
        locks = stack.enter_context(replace(context, wait=0).locked("a backup"))
    except LockedError:
        if run := find_redelivery(context, request.task_id, locked=False):
            return run
        if not context.wait:
            raise
        try:
            locks = stack.enter_context(context.locked("a backup"))
        except LockedError:
            _record_locked_out(context, request, asked)
            raise
    return find_redelivery(context, request.task_id, locked=True) or locks


def _record_locked_out(context: BackupContext, request: BackupRequest, asked: datetime) -> None:
    """Store the record of a run that gave up waiting for the lock. ``asked`` is when it began to wait.

    A storage error is only noted.
    """
    token = keys.task_token(request.task_id) if request.task_id else context.token()
    record = RunRecorder(context, request, keys.make_id(asked, token), asked, ())
    try:
        record.claim_id()
    except BackupError as error:
        context.progress.note(f"This run gave up waiting for the lock. Its record was not stored. {error}")
    else:
        record.finish(LOCKED, {})
