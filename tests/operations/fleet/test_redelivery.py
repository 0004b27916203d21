"""Tasks of a fleet backup that are delivered twice while the first delivery waits for a lock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.catalog.fleets import read_fleets
from igny8_backup.formats import keys
from igny8_backup.formats.documents.fleet import FleetPart
from igny8_backup.formats.manifest import RUNNING
from igny8_backup.locks.storage import storage_lock
from igny8_backup.operations.backup.request import BackupRequest, BackupResult
from igny8_backup.operations.backup.run_record import RunRecorder
from igny8_backup.operations.fleet.coordinate import run_fleet
from igny8_backup.operations.fleet.part import run_part
from igny8_backup.operations.fleet.part_runs import PartRuns
from igny8_backup.operations.fleet.request import FleetRequest, FleetResult
from tests.operations.conftest import Notes
from tests.operations.fleet.conftest import NAMES, FleetInProcess, part_request

pytestmark = pytest.mark.slow


class Delivery(threading.Thread):
    """A delivery of a task in a thread. ``wait`` returns its result, or raises its exception."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__()
        self._work = work
        self._result: object = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:
            self._error = error

    def wait(self) -> object:
        self.join()
        if self._error:
            raise self._error
        return self._result


def wait_for_notes(fleet: FleetInProcess, words: str, times: int) -> None:
    assert isinstance(fleet.base.progress, Notes)
    while sum(words in text for text in fleet.base.progress.texts) < times:
        threading.Event().wait(0.01)


def test_coordinators_that_wait_for_the_lock_make_one_fleet_backup(
    fleet: FleetInProcess, tmp_path: Path
) -> None:
    fleet.run()  # the storage exists
    fleet.sent.clear()

    def deliver(later: timedelta) -> FleetResult:
        assert fleet.base.again
        with fleet.base.again() as store:
            admin = replace(fleet.context("admin"), store=store, own_store=store, wait=60)
            admin = replace(admin, clock=lambda: fleet.clock() + later)
            return run_fleet(admin, FleetRequest(task_id="a task"), fleet.send)

    with storage_lock(fleet.base.store, None, host="other", state_dir=tmp_path, doing="pruning"):
        deliveries = [
            Delivery(lambda: deliver(timedelta(0))),
            Delivery(lambda: deliver(timedelta(seconds=5))),
        ]
        wait_for_notes(fleet, "Waiting up to 60 s", 2)
    results = [delivery.wait() for delivery in deliveries]
    assert sorted(fleet.sent) == sorted(NAMES)
    assert len(read_fleets(fleet.base.store, fleet.base.config.trust)) == 2
    assert {result.record.id for result in results if isinstance(result, FleetResult)} == {
        read_fleets(fleet.base.store, fleet.base.config.trust)[0].record.id
    }


def test_part_that_waits_in_vain_leaves_the_record_of_the_delivery_at_work(fleet: FleetInProcess) -> None:
    class Killed(BaseException):
        pass

    task: dict[str, Any] = {}

    def send(name: str, arguments: Mapping[str, Any], **options: Any) -> None:
        task.update(arguments, **options)
        raise Killed

    with pytest.raises(Killed):
        run_fleet(fleet.context("admin"), FleetRequest(hosts=("web-1",)), send)
    first = replace(fleet.context("web-1"), fleet=task["fleet"])
    with first.locked("a backup"):
        second = Delivery(lambda: run_part(replace(first, wait=1), part_request(task)))
        wait_for_notes(fleet, "Waiting up to 1 s", 1)
        now = fleet.clock()
        request = BackupRequest(trees=("web-1",), fleet=task["fleet"], task_id=task["task_id"])
        backup_id = keys.make_id(now, keys.task_token(request.task_id))
        RunRecorder(first, request, backup_id, now, ()).claim_id()
        result = second.wait()
    assert isinstance(result, BackupResult) and result.earlier and result.earlier.id == backup_id
    runs = PartRuns(first, request.fleet)
    runs.refresh()
    assert runs.settle(FleetPart(host="web-1", trees=("web-1",))).state == RUNNING
