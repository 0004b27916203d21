"""Do the part of one host in a fleet restore or its undo. Entry point: :func:`run_host_restore`.

The host answers with its plan, prepares its part when the coordinator says so, and swaps when the coordinator
has decided. Once a host has answered that it is ready, it may neither swap nor give up by itself: its journal
has the phase ``ready`` until the decision is known, also if the process is killed.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import replace

from igny8_backup.catalog.fleet_restores import read_host
from igny8_backup.common.humanize import one_line
from igny8_backup.errors import BackupError, LockedError, RefusedError, UnfinishedError
from igny8_backup.formats.documents.fleet_restore import (
    BUILDING,
    FAILED,
    PLANNED,
    READY,
    REFUSED,
    SCHEMA,
    SWAPPED,
    UNDO,
    WAITING,
    WITHDRAWN,
    FleetRestore,
    HostRestore,
)
from igny8_backup.journal import DONE, SWAPPING, Journal
from igny8_backup.journal import READY as JOURNAL_READY
from igny8_backup.locks.host import file_lock
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.fleet.restore.host_plan import plan_blockers, restored_parts
from igny8_backup.operations.fleet.restore.host_request import (
    HostRequest,
    PartLock,
    read_record,
    recorded,
)
from igny8_backup.operations.fleet.restore.host_undo import undo_host
from igny8_backup.operations.fleet.restore.recorder import Recorder, write_swapped
from igny8_backup.operations.fleet.restore.waiting import wait_for_decision, wait_for_prepare
from igny8_backup.operations.restore.planning.plan import RestorePlan, RestoreRequest
from igny8_backup.operations.restore.run import RestoreResult, RestoreSession
from igny8_backup.operations.restore.workers import WorkersPolicy


class _WithdrawnError(RefusedError):
    """The coordinator has cancelled the fleet restore, or has not decided in time."""


def run_host_restore(context: BackupContext, request: HostRequest) -> HostRestore | None:
    """Do the part of this host; return its final state, or ``None`` if another process is doing the part.

    If the task is delivered twice, the second delivery returns the final state of the first one. A part that
    was killed is continued or settled, as its journal says.

    Raises ``UsageError`` if there is no such fleet restore or it is for other hosts, ``UnfinishedError`` if
    the swap could not be completed, and other errors if the part has failed.
    """
    record = read_record(context, request)
    lock = PartLock(request.restore, context.store.describe())
    folder, doing = context.config.state_dir, "its part of a fleet restore"
    with ExitStack() as stack:
        try:
            stack.enter_context(file_lock(lock, folder, doing=doing, now=context.clock()))
        except LockedError:
            return None
        earlier = read_host(context.store, context.config.trust, record.id, request.host)
        if earlier and earlier.ended and not (earlier.state == FAILED and record.decided):
            return earlier
        context = replace(context, fleet=record.id)
        now = context.clock()
        document = earlier or HostRestore(
            schema=SCHEMA, id=record.id, host=request.host, state=WAITING, heartbeat=now
        )
        recorder = Recorder(context, context.load_signing_key(), document)
        with recorder, recorded(recorder):
            part = _Part(context, record, request, recorder)
            if not part.settle():
                part.run()
        return recorder.document


class _Part:
    """The part of this host in one fleet restore."""

    def __init__(
        self,
        context: BackupContext,
        record: FleetRestore,
        request: HostRequest,
        recorder: Recorder[HostRestore],
    ) -> None:
        self._context = context
        self._record = record
        self._request = request
        self._recorder = recorder
        self._policy = WorkersPolicy(mode=record.workers, seconds=record.stop_seconds)

    def settle(self) -> bool:
        """Complete or clean up what a killed process has left of this part. Return whether it has ended."""
        context, record = self._context, self._record
        if record.action == UNDO:
            return False
        own = [item for item in context.journals.all() if item.fleet == record.id]
        journal = own[-1] if own else None
        if journal and journal.phase == JOURNAL_READY:
            with suppress(_WithdrawnError):
                self._wait_ready(journal)
        if journal and journal.phase in (JOURNAL_READY, SWAPPING):
            result = RestoreSession(context).settle()
            if result is None:
                self._withdraw()
            else:
                self._swapped(result)
            return True
        if journal and journal.phase == DONE:
            self._recorder.write(state=SWAPPED, stamp=journal.stamp, error="", unfinished=False)
            return True
        if record.decided or record.ended or record.has_expired(context.clock()):
            self._withdraw()
            return True
        return False

    def run(self) -> None:
        """Plan, prepare and swap; or undo."""
        if self._record.action == UNDO:
            undo_host(self._context, self._record, self._recorder, self._policy)
            return
        plan = self._plan()
        if plan is None:
            return
        if not wait_for_prepare(self._context, self._record):
            self._withdraw()
            return
        # Waiting for the locks may take minutes. From here on the coordinator counts on this host.
        session = RestoreSession(self._context)
        self._recorder.write(state=BUILDING)
        try:
            result = session.execute(plan, before_swap=self._wait_ready)
            if result.resumed:
                raise _interrupted()
        except _WithdrawnError:
            self._withdraw()
        else:
            self._swapped(result)

    def _plan(self) -> RestorePlan | None:
        """Answer with the plan of this host; return ``None`` if it is refused."""
        context, record = self._context, self._record
        request = RestoreRequest(
            backup_id=record.fleet,
            identity_file=self._request.identity_file,
            workers=self._policy,
            migrate=record.migrate,
            in_fleet=True,
        )
        try:
            session = RestoreSession(context)
            if session.settle():
                raise _interrupted()
            plan = session.plan(request)
        except BackupError as error:
            self._recorder.write(state=REFUSED, blockers=(one_line(str(error)),))
            return None
        parts = restored_parts(plan)
        allowed = record.allow_vulnerable or self._request.allow_vulnerable
        if blockers := plan_blockers(plan, allow_vulnerable=allowed):
            self._recorder.write(state=REFUSED, parts=parts, notes=plan.notes, blockers=blockers)
            return None
        self._recorder.write(state=PLANNED, parts=parts, notes=plan.notes, blockers=())
        return plan

    def _wait_ready(self, journal: Journal) -> Journal:
        """Answer that this host is ready, and wait for the decision. Return the journal if it is to swap.

        Raises ``_WithdrawnError`` if the fleet restore was cancelled or not decided in time. If the waiting
        ends otherwise, raises ``UnfinishedError``, and everything that is prepared stays for the decision.
        """
        context, record = self._context, self._record
        journal = context.journals.write(replace(journal, fleet=record.id), JOURNAL_READY)
        try:
            try:
                self._recorder.write(state=READY, stamp=journal.stamp)
            except BackupError as error:  # the answer may have arrived all the same
                context.progress.note(f"The answer of this host could not be stored. {error}")
            decided = wait_for_decision(context, record)
        except BaseException as error:
            reason = str(error) if isinstance(error, BackupError) else "The process was stopped."
            raise UnfinishedError(
                "This host is ready for the fleet restore, and the decision of the coordinator is not known."
                f" {reason}",
                unchanged="Nothing live was changed on this host.",
                hint="Run restore_all on this host: it completes the restore if that was decided, and removes"
                " what was prepared if it was cancelled.",
            ) from error
        if not decided:
            raise _WithdrawnError(
                f"The fleet restore {record.id} was cancelled, or not decided in time.",
                hint="Run restore_all --fleet again, on the host that coordinated it.",
            )
        return journal

    def _withdraw(self) -> None:
        self._context.progress.note(
            f"The fleet restore {self._record.id} was cancelled or has ended. Nothing live was changed on"
            " this host."
        )
        self._recorder.write(state=WITHDRAWN, error="", unfinished=False)

    def _swapped(self, result: RestoreResult) -> None:
        write_swapped(self._recorder, result.journal.stamp, warnings=result.warnings, stopped=result.stopped)


def _interrupted() -> RefusedError:
    return RefusedError(
        "An interrupted restore or undo of this host was completed first.",
        unchanged="Nothing else was done on this host.",
        hint="Look at its result, then run restore_all --fleet again.",
    )
