"""Coordinate a fleet backup: send each host its part and wait for the results. See :func:`run_fleet`.

The coordinator learns from the storage alone what the hosts do, from the run records that they write. It
sends databases first, and files when the snapshots of all databases exist: then every file that a row of a
database names, and that still exists, is in the backup. The runs hold the lock in the storage together with
the coordinator, so they go on if the coordinator is killed, and nothing else changes the storage meanwhile.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timedelta

from igny8_backup.common.humanize import count_in_words, duration_in_words
from igny8_backup.errors import BackupError
from igny8_backup.formats import keys
from igny8_backup.formats.documents.fleet import (
    SCHEMA,
    WAITING,
    FleetPart,
    FleetRecord,
    part_task,
)
from igny8_backup.formats.manifest import FAILED
from igny8_backup.locks.fleet import leave_to_hosts, release_when_stopped
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.fleet.abandoned import complete_abandoned, complete_stopped
from igny8_backup.operations.fleet.part_runs import PartRuns
from igny8_backup.operations.fleet.record import FleetRecorder, find_earlier
from igny8_backup.operations.fleet.request import FleetRequest, FleetResult, Sender

PAUSE, LONGEST_PAUSE = 0.3, 5.0
"""The first and the longest pause between two looks at the storage, in seconds."""
SEND_AGAIN = timedelta(minutes=2)
"""A task that its host has not begun is sent again after this time, in case the broker has lost it."""


def run_fleet(context: BackupContext, request: FleetRequest, send: Sender) -> FleetResult:
    """Back up all hosts of the fleet as one backup with one id.

    ``send`` sends a task to the queue of a host. A part that fails, or whose host does not answer in time, is
    recorded as failed; the other parts are kept. Records of coordinators that were killed are completed
    first. Raises ``UsageError`` for a request without parts, ``LockedError`` if another run holds the lock in
    the storage for longer than ``context.wait``, ``IdentityError`` and ``StorageError``.
    """
    parts = request.parts(context.config)
    signing_key = context.load_signing_key()  # a wrong one must be noticed now, not after hours
    if earlier := find_earlier(context, request.task_id):
        return FleetResult(record=earlier, repeated=True)
    started = context.clock()
    token = keys.task_token(request.task_id) if request.task_id else context.token()
    record = FleetRecord(
        schema=SCHEMA,
        id=keys.make_id(started, token),
        host=context.config.host,
        environment=context.config.environment,
        label=request.label,
        started=started,
        heartbeat=started,
        deadline=started + request.end_within,
        task_id=request.task_id,
        parts=parts,
    )
    with replace(context, fleet=record.id).locked("the coordination", coordinates=True) as locks:
        # Several deliveries of one task may have waited for the lock.
        if earlier := find_earlier(context, request.task_id, locked=record.id):
            if earlier.id == record.id:  # delivered twice within a second: the lock is that of the other one
                leave_to_hosts(locks)
            return FleetResult(record=earlier, repeated=True)
        complete_abandoned(context, signing_key)
        # Waiting for the lock may have taken hours.
        now = context.clock()
        record = replace(record, heartbeat=now, deadline=now + request.end_within)
        recorder = FleetRecorder(context, record, signing_key)
        recorder.begin()
        coordinator = _Coordinator(context, request, recorder, send, now)
        try:
            coordinator.run()
        except BaseException as error:
            # A task that is delivered again begins anew, so its record must not be completed.
            by_hand = isinstance(error, KeyboardInterrupt) and not request.task_id
            if by_hand and complete_stopped(context, recorder.record, signing_key):
                release_when_stopped(locks)
            else:
                context.progress.note(
                    f"The coordinator of the fleet backup {record.id} was stopped. Hosts complete the parts"
                    " that they have begun. The next backup_fleet completes the record. It can begin five"
                    " minutes after the last host has ended."
                )
            raise
        for lock in locks:
            lock.check(unchanged="The parts that the hosts have stored are kept.")
        if coordinator.note_late():
            leave_to_hosts(locks)
        return FleetResult(record=recorder.finish())


class _Coordinator:
    """Sends the parts of one fleet backup, and follows them until all have ended."""

    def __init__(
        self,
        context: BackupContext,
        request: FleetRequest,
        recorder: FleetRecorder,
        send: Sender,
        started: datetime,
    ) -> None:
        self.context = context
        self.request = request
        self.recorder = recorder
        self.send = send
        self.started = started
        self.runs = PartRuns(context, recorder.record.id)
        self.tasks = [_Task(part) for part in recorder.record.parts]

    def run(self) -> None:
        """Return when every part has ended, or was given up."""
        hosts = len({task.part.host for task in self.tasks})
        self.context.progress.note(
            f"Fleet backup {self.recorder.record.id}: {count_in_words(len(self.tasks), 'part')} on"
            f" {count_in_words(hosts, 'host')}."
        )
        pause = PAUSE
        while True:
            self.look()
            self.recorder.update(tuple(task.part for task in self.tasks))
            if all(task.part.ended for task in self.tasks):
                return
            time.sleep(pause)
            pause = min(1.05 * pause, LONGEST_PAUSE)

    def note_late(self) -> bool:
        """Note which hosts are still making a part that was given up; return whether there is one."""
        late = [task.part for task in self.tasks if self.runs.is_at_work(task.part)]
        for part in late:
            self.context.progress.note(
                f"{part.describe()}: the host is still at work. If it completes its backup {part.backup_id},"
                " that backup is kept. Until it ends, no other run can begin."
            )
        return bool(late)

    def look(self) -> None:
        """Read the run records, and send the tasks that are due.

        A host makes one part at a time: its files follow its databases.
        """
        self.runs.refresh()
        now = self.context.clock()
        for task in self.tasks:
            if not task.part.ended:
                self.follow(task, now)
        snapshots = all(task.has_snapshots for task in self.tasks if task.part.databases)
        busy = {task.part.host for task in self.tasks if task.part.databases and not task.part.ended}
        for task in self.tasks:
            due = task.part.databases or (snapshots and task.part.host not in busy)
            if due and task.part.state == WAITING:
                self.send_part(task, now)

    def send_part(self, task: _Task, now: datetime) -> None:
        if task.sent and now - task.sent < SEND_AGAIN:
            return
        part, record = task.part, self.recorder.record
        task.first_sent = task.first_sent or now
        expires = (task.first_sent + self.request.start_within - now).total_seconds()
        arguments = {
            "fleet": record.id,
            "host": part.host,
            "databases": list(part.databases),
            "trees": list(part.trees),
            "full": self.request.full,
            "label": self.request.label,
        }
        try:
            self.send(
                "backup_fleet_part",
                arguments,
                queue=self.context.config.fleet[part.host].queue,
                task_id=part_task(record.id, part.host, part.kind),
                expires=max(expires, 1),
            )
        except BackupError as error:
            if not task.problem:
                self.context.progress.note(f"{part.describe()}: not sent yet. {error}")
            task.problem = f"the task could not be sent: {error.what}"
        else:
            task.sent, task.problem = now, ""

    def follow(self, task: _Task, now: datetime) -> None:
        """Take over what the host of a part has recorded, or give the part up."""
        part = self.runs.settle(task.part)
        if not part.ended and now >= self.recorder.record.deadline:
            longest = duration_in_words(self.request.end_within)
            part = replace(part, state=FAILED, reason=task.problem or f"it has not ended within {longest}")
        elif part.state == WAITING and task.first_sent and now - task.first_sent >= self.request.start_within:
            within = duration_in_words(self.request.start_within)
            queue = self.context.config.fleet[part.host].queue
            reason = f"no worker of the queue {queue!r} has begun it within {within}"
            part = replace(part, state=FAILED, reason=task.problem or reason)
        task.has_snapshots = part.ended or self.runs.has_snapshots(part)
        if part.state != task.part.state:
            what = part.state if part.ended else "begun"
            reason = f": {part.reason}" if part.reason else ""
            self.context.progress.note(f"{part.describe()}: {what}{reason}")
        task.part = part


class _Task:
    """The state of one part. ``has_snapshots``: files may be read as far as this part is concerned."""

    def __init__(self, part: FleetPart) -> None:
        self.part = part
        self.first_sent: datetime | None = None
        self.sent: datetime | None = None
        self.problem = ""
        self.has_snapshots = False
