"""Fleet restores whose hosts work in threads of this process, as their workers do when they get a task."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from threading import Thread
from typing import Any

from igny8_backup.catalog.fleet_restores import read_host, read_restore, restore_ids, write
from igny8_backup.errors import BackupError
from igny8_backup.formats.documents.fleet_restore import RESTORE, FleetRestore, HostRestore
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.fleet.restore.coordinate import coordinating, settle_earlier
from igny8_backup.operations.fleet.restore.host import run_host_restore
from igny8_backup.operations.fleet.restore.host_request import HostRequest
from igny8_backup.operations.fleet.restore.request import FleetRestoreRequest, FleetRestoreResult
from igny8_backup.operations.restore.workers import IGNORE, WorkersPolicy
from tests.operations.fleet.conftest import NAMES, FleetInProcess

SECONDS = 60
POLICY = WorkersPolicy(mode=IGNORE)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class LiveFleet:
    """The hosts of a fleet with one backup, whose pages were defaced since. ``down`` take no tasks."""

    def __init__(self, fleet: FleetInProcess) -> None:
        self.fleet = fleet
        self.down: set[str] = set()
        self.id = fleet.run().record.id
        self._threads: list[Thread] = []
        self.deface()

    def context(self, host: str = "admin") -> BackupContext:
        return self.fleet.context(host)

    def request(self, action: str = RESTORE, **options: Any) -> FleetRestoreRequest:
        return FleetRestoreRequest(action=action, workers=POLICY, **options)

    def run(self, action: str = RESTORE, **options: Any) -> FleetRestoreResult:
        """Coordinate a fleet restore on the host ``admin``."""
        with coordinating(self.context(), self.request(action, **options), self.send) as coordinator:
            result = coordinator.execute(coordinator.plan())
        self.join()
        return result

    def settle(self) -> FleetRestoreResult | None:
        """Do what the next ``restore_all --fleet`` does first."""
        result = settle_earlier(self.context(), self.send)
        self.join()
        return result

    def send(self, name: str, arguments: Mapping[str, Any], **options: Any) -> None:
        if arguments["host"] not in self.down:
            self.work(arguments["host"], arguments["restore"])

    def work(self, host: str, restore_id: str) -> None:
        """Begin the part of a host, as its worker does, which survives errors."""

        def part() -> None:
            with suppress(BackupError):
                run_host_restore(self.context(host), HostRequest(restore=restore_id, host=host))

        self._threads.append(Thread(target=part))
        self._threads[-1].start()

    def join(self) -> None:
        """Wait until all parts have ended."""
        while self._threads:
            thread = self._threads.pop()
            thread.join(SECONDS)
            assert not thread.is_alive()

    def ids(self) -> list[str]:
        """Return the ids of all fleet restores, newest first."""
        return list(restore_ids(self.fleet.base.store, LONG_AGO))

    def record(self, restore_id: str) -> FleetRestore:
        found = read_restore(self.fleet.base.store, self.context().config.trust, restore_id)
        assert found
        return found

    def answer(self, restore_id: str, host: str) -> HostRestore | None:
        return read_host(self.fleet.base.store, self.context().config.trust, restore_id, host)

    def state(self, restore_id: str, host: str) -> str:
        found = self.answer(restore_id, host)
        return found.state if found else ""

    def write(self, document: FleetRestore | HostRestore) -> None:
        """Store a document as the host that it names does, with its signature if that host signs."""
        context = self.context(document.host)
        write(context.store, context.config.trust, context.load_signing_key(), document)

    def bury(self, *records: FleetRestore) -> None:
        """Make the killed coordinators of these restores look dead, as they do after five minutes."""
        for record in records:
            self.write(replace(record, heartbeat=LONG_AGO))
        for item in list(self.fleet.base.store.list("locks/")):
            self.fleet.base.store.delete(item.key)

    def deface(self) -> None:
        for name in NAMES:
            (self.fleet.folder / name / "index.html").write_text("defaced\n")

    def pages(self) -> set[str]:
        """Return the contents of the pages of all hosts, with the same words for all hosts."""
        texts = {name: (self.fleet.folder / name / "index.html").read_text() for name in NAMES}
        return {text.replace(name, "HOST") for name, text in texts.items()}

    def phases(self) -> set[str]:
        """Return the phases of the restores on all hosts."""
        return {journal.phase for name in NAMES for journal in self.context(name).journals.all()}


DEFACED, GOOD = {"defaced\n"}, {"the start page of HOST\n"}
"""What :meth:`LiveFleet.pages` returns before and after a restore."""


def wait_until(found: Callable[[], object]) -> None:
    """Wait for a condition; fail if it takes too long."""
    deadline = time.monotonic() + SECONDS
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.02)
