"""Lead the hosts of a fleet restore through its phases. See :class:`Coordinator`."""

from __future__ import annotations

from datetime import timedelta

from igny8_backup.errors import BackupError, UnfinishedError
from igny8_backup.formats.documents.fleet_restore import (
    BUILDING,
    CANCELLED,
    DONE,
    GRACE,
    PLANNED,
    PREPARING,
    READY,
    RESTORE,
    SWAPPED,
    SWAPPING,
    WAITING,
    FleetRestore,
    HostRestore,
)
from igny8_backup.locks.host import HeldLock
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.fleet.request import Sender
from igny8_backup.operations.fleet.restore.follow import Hosts
from igny8_backup.operations.fleet.restore.recorder import Recorder
from igny8_backup.operations.fleet.restore.request import FleetRestorePlan, FleetRestoreResult
from igny8_backup.operations.restore.workers import WorkersPolicy, stop_celery_workers

NOTHING = "Nothing live was changed on any host."


class Coordinator:
    """Leads the hosts of one fleet restore through its phases."""

    def __init__(
        self,
        context: BackupContext,
        recorder: Recorder[FleetRestore],
        send: Sender,
        locks: list[HeldLock],
        start_within: timedelta,
        end_within: timedelta = timedelta(0),
        notes: tuple[str, ...] = (),
    ) -> None:
        self._context = context
        self._recorder = recorder
        self._locks = locks
        self._start_within = start_within
        self._end_within = end_within
        self._notes = notes
        self._decided = recorder.document.decided
        self._stopped: tuple[str, ...] = ()
        self.hosts = Hosts(context, recorder.document, send)

    @property
    def record(self) -> FleetRestore:
        return self._recorder.document

    def plan(self) -> FleetRestorePlan:
        """Ask every host for its plan. A host that does not answer in time is a blocker."""
        self._recorder.write()
        for name in self.record.by_hand:
            command, key = "undo_restore", ""
            if self.record.action == RESTORE:
                # An encrypted backup needs it, and a host that refuses for want of it ends the restore.
                command, key = "restore_all", " --identity FILE (if the backup is encrypted)"
            self._context.progress.note(
                f"Run on the host {name}: python manage.py {command} --join {self.record.id}{key}"
            )
        silent: list[str] = []

        def answered() -> bool:
            waiting = [host for host in self.hosts.all() if host.state == WAITING]
            silent[:] = self.hosts.silent(waiting, self._start_within)
            return len(silent) == len(waiting)

        self.hosts.follow(answered, lambda host: host.state == WAITING, self._start_within)
        blockers = [*silent]
        for host in self.hosts.all():
            blockers += [f"{host.host}: {text}" for text in host.blockers]
            if host.ended and host.state != SWAPPED and not host.blockers:
                blockers.append(_sentence(host))
        return FleetRestorePlan(
            record=self.record, hosts=self.hosts.all(), notes=self._notes, blockers=tuple(blockers)
        )

    def execute(self, plan: FleetRestorePlan) -> FleetRestoreResult:
        """Let all hosts prepare, decide when all are ready, and wait until all have swapped.

        Raises ``RefusedError`` for a plan with blockers, and ``BackupError`` if a host fails before the
        decision: then nothing live has changed on any host. Raises ``UnfinishedError`` if it is not known
        whether the decision was stored. Workers are stopped first, if the request says so.
        """
        plan.require_feasible()
        # Once for all hosts: a worker that another host stops at the same time looks busy, because it is
        # silent.
        policy = WorkersPolicy(mode=self.record.workers, seconds=self.record.stop_seconds)
        self._stopped = stop_celery_workers(self._context, policy)
        if self.record.action == RESTORE:
            self._prepare()
        self._decide()
        return self.complete()

    def complete(self, *, again: bool = False) -> FleetRestoreResult:
        """Wait until all hosts have swapped, or have failed or stopped; return the result.

        ``again``: hosts that have failed get their task once more.
        """
        self.hosts.restart_clock()
        if again:
            self.hosts.retry_failed()
        problems: list[str] = []

        def finished() -> bool:
            busy = [host for host in self.hosts.all() if self.hosts.is_busy(host)]
            stopped = [host for host in busy if self._must_be_resumed(host)]
            # Their tasks were sent again, to settle what their journals say.
            silent = self.hosts.silent(stopped, self._start_within)
            problems[:] = silent
            return len(silent) == len(busy)

        self.hosts.follow(finished, self._must_be_resumed, self._start_within)
        if all(host.state == SWAPPED for host in self.hosts.all()):
            self._recorder.write(phase=DONE, finished=self._context.clock())
        else:
            self._recorder.write(finished=self._context.clock())
        problems += [_sentence(host) for host in self.hosts.all() if host.ended and host.state != SWAPPED]
        return FleetRestoreResult(
            record=self.record, hosts=self.hosts.all(), problems=tuple(problems), stopped_first=self._stopped
        )

    def cancel(self) -> None:
        """Cancel the fleet restore unless it was decided. A storage error is only noted."""
        if self._decided or self.record.ended:
            return
        if self._stopped:
            self._context.progress.note("Workers were stopped and nothing was restored: start them again.")
        try:
            self._recorder.write(phase=CANCELLED, finished=self._context.clock())
        except BackupError as error:
            self._context.progress.note(
                f"The fleet restore {self.record.id} could not be cancelled. The hosts give up by themselves"
                f" after {self.record.decide_before:%Y-%m-%d %H:%M:%S} UTC. {error}"
            )

    def _prepare(self) -> None:
        end = self._context.clock() + self._end_within
        self._recorder.write(phase=PREPARING, decide_before=end)
        self.hosts.restart_clock()
        failed: list[str] = []

        def finished() -> bool:
            hosts = self.hosts.all()
            failed[:] = [_sentence(host) for host in hosts if host.ended]
            failed.extend(self.hosts.dead(hosts))
            failed.extend(
                self.hosts.silent([host for host in hosts if host.state == PLANNED], self._start_within)
            )
            if not failed and self._context.clock() >= end - GRACE:
                late = [host.host for host in hosts if host.state in (PLANNED, BUILDING)]
                failed.extend(f"{host}: it is not ready yet, and the time is over." for host in late)
            return bool(failed) or all(host.state == READY for host in hosts)

        self.hosts.follow(finished, lambda host: False, self._start_within)
        if failed:
            self._abort(failed)

    def _abort(self, failed: list[str]) -> None:
        self.cancel()
        what = f"The fleet restore was cancelled, because not every host is ready. {' '.join(failed)}"
        hint = "Fix this, then run the command again. The other hosts remove what they have prepared."
        raise BackupError(what, unchanged=NOTHING, hint=hint)

    def _decide(self) -> None:
        for lock in self._locks:
            lock.check(unchanged=NOTHING)
        if self._context.clock() >= self.record.decide_before - GRACE:
            self._abort(["The time for the decision is over."])
        self._decided = True  # from here on the hosts may have seen it, whatever fails
        try:
            self._recorder.write(phase=SWAPPING)
        except BaseException as error:
            raise UnfinishedError(
                f"It is not known whether the decision for the fleet restore {self.record.id} was stored."
                f" {error}",
                unchanged="Each host completes its restore, or changes nothing.",
                hint="Run the same command again: it completes the fleet restore if it was decided.",
            ) from error
        self._context.progress.note("All hosts are ready. They swap now.")

    def _must_be_resumed(self, host: HostRestore) -> bool:
        """Return whether the task of a host is to be sent again, because its process has stopped."""
        return self.hosts.is_busy(host) and not host.is_alive(self._context.clock())


def _sentence(host: HostRestore) -> str:
    """Return why the part of a host has ended, and what to do there if its swap has begun."""
    if not host.unfinished:
        return f"{host.host}: {host.state}{': ' + host.error if host.error else '.'}"
    return f"{host.host}: its part was begun and not completed: {host.error}"
