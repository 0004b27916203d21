"""Hosts that are slow, busy or silent for a reason: they are waited for, or their backup is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.errors import LockedError
from igny8_backup.formats import keys
from igny8_backup.formats.documents.fleet import FleetPart
from igny8_backup.formats.documents.run_record import YIELDED
from igny8_backup.formats.manifest import COMPLETE, FAILED, RUNNING
from igny8_backup.locks import storage
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run_record import RunRecorder
from igny8_backup.operations.fleet.coordinate import run_fleet
from igny8_backup.operations.fleet.part import run_part
from igny8_backup.operations.fleet.part_runs import PartRuns
from igny8_backup.operations.fleet.request import FleetRequest
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify
from tests.operations.conftest import Notes
from tests.operations.fleet.child import Child
from tests.operations.fleet.conftest import Clock, FleetInProcess, part_request


def notes(fleet: FleetInProcess) -> str:
    assert isinstance(fleet.base.progress, Notes)
    return "\n".join(fleet.base.progress.texts)


@pytest.mark.slow
def test_backup_of_a_host_that_ends_too_late_is_kept(
    fleet: FleetInProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "CHECK_SECONDS", 0)
    gate = tmp_path / "gate"
    gate.touch()
    wait = f"touch {gate}.begun; while [ -e {gate} ]; do sleep 0.05; done"
    fleet.own["web-2"] = {"BEFORE_BACKUP": [["sh", "-c", wait]]}
    slow: list[Child] = []

    def send(name: str, arguments: Mapping[str, Any], **options: Any) -> None:
        if arguments["host"] == "web-2":
            slow.append(Child(lambda: run_part(fleet.context("web-2"), part_request(arguments))))
            slow[0].wait_until(gate.with_suffix(".begun").exists)
        else:
            fleet.send(name, arguments, **options)
        if arguments["host"] == "web-3":
            fleet.clock.step = timedelta(seconds=10)

    request = FleetRequest(start_within=timedelta(minutes=1), end_within=timedelta(minutes=2))
    try:
        record = run_fleet(fleet.context("admin"), request, send).record
        fleet.clock.step = timedelta()
        (missing,) = record.missing()
        assert (missing.host, missing.reason) == ("web-2", "it has not ended within 2 minutes")
        assert f"If it completes its backup {missing.backup_id}, that backup is kept." in notes(fleet)
        with pytest.raises(LockedError, match=f"the fleet backup {record.id}"):
            fleet.run()
    finally:
        gate.unlink()
        ended = [child.wait() for child in slow]
    assert ended == [0]
    verified = verify(fleet.context("admin"), VerifyRequest(backup_id=missing.backup_id, depth="content"))
    assert verified.problems() == []
    fleet.base.store.delete(keys.lock_key(record.id))  # as if it had expired
    assert fleet.run().complete


class Host:
    """The database part of a host in this process, which ``clock`` lets report until half an hour is over."""

    def __init__(self, fleet: FleetInProcess, arguments: Mapping[str, Any], task_id: str) -> None:
        request = BackupRequest(databases=("default",), fleet=arguments["fleet"], task_id=task_id)
        self.context = replace(fleet.context(arguments["host"]), clock=Clock())
        self.started = self.context.clock()
        backup_id = keys.make_id(self.started, "abcdef")
        self.recorder = RunRecorder(self.context, request, backup_id, self.started, ())
        self.recorder.claim_id()
        self.recorder.announce_snapshot("default")
        self.ended = False

    def report(self, now: datetime) -> None:
        self.context.clock.ahead += now - self.context.clock()  # type: ignore[attr-defined]
        if now - self.started > timedelta(minutes=30) and not self.ended:
            self.ended = True
            self.recorder.finish(FAILED, {})
        elif not self.ended:
            self.recorder.renew_heartbeat()


def test_files_of_a_host_wait_for_its_databases(fleet: FleetInProcess) -> None:
    declared = fleet.settings["HOSTS"]
    fleet.settings |= {
        "DATABASES": ["default"],
        "HOSTS": {**declared, "web-1": {**declared["web-1"], "databases": ["default"]}},
    }
    hosts: list[Host] = []
    order: list[str] = []

    class Reporting(Clock):
        def __call__(self) -> datetime:
            now = super().__call__()
            for host in hosts:
                host.report(now)
            return now

    fleet.clock = Reporting()

    def send(name: str, arguments: Mapping[str, Any], **options: Any) -> None:
        if arguments["databases"]:
            hosts.append(Host(fleet, arguments, options["task_id"]))
            fleet.clock.step = timedelta(seconds=10)
            return
        order.append(arguments["host"])
        assert arguments["host"] != "web-1" or hosts[0].ended, "a host makes one part at a time"
        fleet.send(name, arguments, **options)

    record = run_fleet(fleet.context("admin"), FleetRequest(), send).record
    assert order == ["web-2", "web-3", "web-1"]
    assert {(part.host, part.kind): part.state for part in record.parts} == {
        ("web-1", "database"): FAILED,
        ("web-1", "files"): COMPLETE,
        ("web-2", "files"): COMPLETE,
        ("web-3", "files"): COMPLETE,
    }


def test_host_is_not_given_up_for_a_time_in_which_it_could_not_report(fleet: FleetInProcess) -> None:
    record = fleet.run(FleetRequest(hosts=("web-1",))).record
    part = FleetPart(host="web-2", trees=("web-2",))
    behind = fleet.context("web-2")
    runs = PartRuns(fleet.context("admin"), record.id)
    runs.refresh()
    fleet.clock.ahead += timedelta(minutes=1)
    request = BackupRequest(trees=("web-2",), fleet=record.id, task_id="a task")
    began = fleet.clock() - timedelta(minutes=20)  # the clock of the host is wrong
    RunRecorder(behind, request, keys.make_id(began, "abcdef"), began, ()).claim_id()
    runs.refresh()
    assert runs.is_at_work(part)
    fleet.clock.ahead += timedelta(minutes=10)  # the storage has not answered
    runs.refresh()
    assert runs.settle(part).state == RUNNING
    for _ in range(5):
        assert runs.is_at_work(part)
        fleet.clock.ahead += timedelta(minutes=1)
        runs.refresh()
    assert runs.settle(part).state == FAILED


def test_part_whose_dump_yields_is_a_failed_part(fleet: FleetInProcess) -> None:
    def send(name: str, arguments: Mapping[str, Any], **options: Any) -> None:
        request = BackupRequest(trees=("web-2",), fleet=arguments["fleet"], task_id=options["task_id"])
        now = fleet.clock()
        recorder = RunRecorder(fleet.context("web-2"), request, keys.make_id(now, "abcdef"), now, ())
        recorder.claim_id()
        recorder.finish(YIELDED, {})

    (part,) = run_fleet(fleet.context("admin"), FleetRequest(hosts=("web-2",)), send).record.parts
    assert part.state == FAILED and part.reason.startswith("its dump ended for a session that waited")
