"""Send the hosts of a fleet restore their tasks, and follow what they answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from igny8_backup.catalog.fleet_restores import read_host
from igny8_backup.common.humanize import duration_in_words
from igny8_backup.errors import BackupError, IntegrityError, StorageError
from igny8_backup.formats import keys
from igny8_backup.formats.documents.fleet_restore import (
    FAILED,
    SCHEMA,
    WAITING,
    FleetRestore,
    HostRestore,
    restore_task,
)
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.fleet.request import Sender

PAUSE, LONGEST_PAUSE = 0.5, 5.0
"""The first and the longest pause between two looks at the storage, in seconds."""
SEND_AGAIN = timedelta(minutes=2)
"""A task that its host has not begun is sent again after this time, in case the broker has lost it."""


class Hosts:
    """The hosts of one fleet restore. ``states`` are their newest answers.

    One listing finds the answers that have changed, and only those are read again. ``problems`` says of a
    host why its answer cannot be used, or why no task could be sent to it.
    """

    def __init__(self, context: BackupContext, record: FleetRestore, send: Sender) -> None:
        self._context = context
        self._record = record
        self._send = send
        self._written: dict[str, str] = {}
        self._first_sent: dict[str, datetime] = {}
        self._sent: dict[str, datetime] = {}
        self._changed: dict[str, datetime] = {}
        self._failed: dict[str, datetime] = {}
        self.problems: dict[str, str] = {}
        now = context.clock()
        self.states = {
            host: HostRestore(schema=SCHEMA, id=record.id, host=host, state=WAITING, heartbeat=now)
            for host in record.hosts
        }

    def all(self) -> tuple[HostRestore, ...]:
        return tuple(self.states.values())

    def follow(
        self, finished: Callable[[], bool], resend: Callable[[HostRestore], bool], within: timedelta
    ) -> None:
        """Look at the answers until ``finished`` returns true.

        A task is sent to the hosts for which ``resend`` returns true; it expires after ``within``. A storage
        error is only noted once: the hosts may still be at work. Raises the errors of ``finished``.
        """
        pause, noted = PAUSE, False
        while True:
            try:
                self._look()
                noted = False
            except StorageError as error:
                if not noted:
                    self._context.progress.note(
                        f"The answers of the hosts cannot be read. Trying again. {error}"
                    )
                noted = True
            if finished():
                return
            for host in self.all():
                if host.host not in self._record.by_hand and resend(host):
                    self._send_task(host.host, within)
            time.sleep(pause)
            pause = min(1.1 * pause, LONGEST_PAUSE)

    def restart_clock(self) -> None:
        """Count the time of :meth:`silent` from now on."""
        now = self._context.clock()
        self._changed = dict.fromkeys(self.states, now)

    def retry_failed(self) -> None:
        """Count hosts that have failed as busy until they answer again. Raises ``StorageError``."""
        self._look()
        self._failed = {host.host: host.heartbeat for host in self.all() if host.state == FAILED}

    def is_busy(self, host: HostRestore) -> bool:
        """Return whether an answer of ``host`` is still awaited."""
        return not host.ended or self._failed.get(host.host) == host.heartbeat

    def silent(self, hosts: Collection[HostRestore], within: timedelta) -> list[str]:
        """Return a sentence for each of ``hosts`` that has not changed its state for ``within``."""
        now = self._context.clock()
        found = []
        for host in hosts:
            if now - self._changed.setdefault(host.host, now) < within:
                continue
            reason = self.problems.get(host.host) or f"it has not answered within {duration_in_words(within)}"
            queue = self._queue(host.host)
            reason = f"{reason} (queue {queue!r})" if queue and host.host not in self.problems else reason
            found.append(f"{host.host}: {reason}.")
        return found

    def dead(self, hosts: Collection[HostRestore]) -> list[str]:
        """Return a sentence for each of ``hosts`` that has answered and stopped reporting since."""
        now = self._context.clock()
        return [
            f"{host.host}: it has stopped reporting, last at {host.heartbeat:%Y-%m-%d %H:%M:%S} UTC."
            for host in hosts
            if host.state != WAITING and not host.ended and not host.is_alive(now)
        ]

    def _look(self) -> None:
        store, trust = self._context.store, self._context.config.trust
        for item in store.list(keys.fleet_folder(self._record.id)):
            parsed = keys.parse(item.key)
            if parsed is None or parsed.kind != "fleet_restore_part" or parsed.host not in self.states:
                continue
            if item.written and self._written.get(parsed.host) == item.written:
                continue
            try:
                found = read_host(store, trust, self._record.id, parsed.host)
            except IntegrityError as error:
                self.problems[parsed.host] = f"its answer cannot be used: {error.what}"
                continue
            self._written[parsed.host] = item.written
            if found:
                self._take(found)

    def _take(self, found: HostRestore) -> None:
        self.problems.pop(found.host, None)
        if found.state != self.states[found.host].state:
            self._changed[found.host] = self._context.clock()
            why = f": {found.error}" if found.error else ""
            self._context.progress.note(f"{found.host}: {found.state}{why}")
        self.states[found.host] = found

    def _queue(self, host: str) -> str:
        known = self._context.config.fleet.get(host)
        return known.queue if known and host not in self._record.by_hand else ""

    def _send_task(self, host: str, within: timedelta) -> None:
        now = self._context.clock()
        sent = self._sent.get(host)
        if sent and now - sent < SEND_AGAIN:
            return
        first = self._first_sent.setdefault(host, now)
        self._changed.setdefault(host, now)
        try:
            self._send(
                "restore_fleet_part",
                {"restore": self._record.id, "host": host},
                queue=self._queue(host),
                task_id=restore_task(self._record.id, host),
                expires=max((first + within - now).total_seconds(), 1),
            )
        except BackupError as error:
            if host not in self.problems:
                self._context.progress.note(f"{host}: no task was sent yet. {error}")
            self.problems[host] = f"the task could not be sent: {error.what}"
        else:
            self._sent[host] = now
            self.problems.pop(host, None)
