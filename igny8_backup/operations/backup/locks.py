"""Take the locks of a backup run; if the run does not get them, store a record that says so."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta

from igny8_backup.errors import BackupError, LockedError
from igny8_backup.formats import keys
from igny8_backup.formats.documents.run_record import SKIPPED, RunRecord
from igny8_backup.formats.manifest import LOCKED
from igny8_backup.locks.host import HeldLock
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run_record import RunRecorder, find_redelivery
from igny8_backup.operations.context import BackupContext

_LONGEST = timedelta(days=7)
"""A run that began longer ago than this is not looked for."""


def take_locks(
    stack: ExitStack, context: BackupContext, request: BackupRequest
) -> list[HeldLock] | RunRecord:
    """Take the locks of a backup run; ``stack`` releases them when it is closed. Return the locks.

    In two cases the record of another run is returned instead, because this run must not make the backup: an
    earlier run for the same Celery task has ended or still goes on; or a run of this host is making the same
    backup, and the request has ``skip_if_running``. A run that gives up waiting for the locks, or is skipped,
    stores a record, so that other hosts see that its backup is missing. Raises ``LockedError``.
    """
    asked, context = context.clock(), replace(context, fleet=request.fleet)
    try:
        locks = stack.enter_context(replace(context, wait=0).locked("a backup"))
    except LockedError:
        if run := find_redelivery(context, request.task_id, locked=False):
            return run
        if request.skip_if_running and (run := _same_backup(context, request)):
            _skip(context, request, asked, run)
            return run
        if not context.wait:
            raise
        try:
            locks = stack.enter_context(context.locked("a backup"))
        except LockedError:
            if run := find_redelivery(context, request.task_id, locked=False):
                return run  # it took the lock while this delivery waited, and has a record to keep
            _record_nothing_done(context, request, asked, LOCKED)
            raise
    return find_redelivery(context, request.task_id, locked=True) or locks


def _same_backup(context: BackupContext, request: BackupRequest) -> RunRecord | None:
    """Return the record of the run of this host that is making the backup of ``request`` already, if any."""
    now = context.clock()
    for run in context.catalog.runs(since=now - _LONGEST):
        own = run.host == context.config.host and run.is_alive(now)
        if own and set(run.requested) >= {*request.databases, *request.trees}:
            return run
    return None


def _skip(context: BackupContext, request: BackupRequest, asked: datetime, running: RunRecord) -> None:
    """Record that the backup of ``request``, due at ``asked``, is skipped because of the run ``running``.

    Raises ``LockedError`` if a backup of one of the same parts was skipped before because of that run.
    """
    parts = {*request.databases, *request.trees}
    before = [
        run
        for run in context.catalog.runs(since=running.started)
        if run.host == context.config.host and run.outcome == SKIPPED and parts.intersection(run.requested)
    ]
    _record_nothing_done(context, request, asked, SKIPPED)
    if before:
        raise LockedError(
            f"The backup {running.id} of this host still runs, and {len(before) + 1} later ones were skipped"
            f" because of it. It began at {running.started:%Y-%m-%d %H:%M:%S} UTC.",
            hint="Find out why it takes so long: its log says what it waits for. Or make backups less often.",
        )
    context.progress.note(f"Skipped: the backup {running.id} of this host still runs.")


def _record_nothing_done(
    context: BackupContext, request: BackupRequest, asked: datetime, outcome: str
) -> None:
    """Store the record of a run that made no backup, because it did not get the lock or was skipped.

    ``asked`` is when the backup was due, ``outcome`` says why there is none. A storage error is only noted.
    """
    token = keys.task_token(request.task_id) if request.task_id else context.token()
    record = RunRecorder(context, request, keys.make_id(asked, token), asked, ())
    try:
        record.claim_id()
    except BackupError as error:
        context.progress.note(f"This run did not get the lock. Its record was not stored. {error}")
    else:
        record.finish(outcome, {})
