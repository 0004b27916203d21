"""Monitoring a fleet: hosts that did not take part, and coordinators that stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.fleet import FleetRecord
from igny8_backup.formats.manifest import RUNNING
from igny8_backup.operations.fleet.coordinate import run_fleet
from igny8_backup.operations.fleet.request import FleetRequest
from igny8_backup.operations.monitor.health import Condition
from igny8_backup.operations.monitor.run import monitor
from tests.operations.fleet.conftest import NAMES, FleetInProcess


def conditions(fleet: FleetInProcess, *names: str, **settings: Any) -> dict[tuple[str, str], Condition]:
    """Return the conditions of these names, checked on a machine that makes no backups."""
    fleet.own["watch"] = settings
    found = monitor(fleet.context("watch")).conditions
    return {(item.name, item.of): item for item in found if item.name in names}


def failed(fleet: FleetInProcess, *names: str, **settings: Any) -> dict[str, str]:
    found = conditions(fleet, *names, **settings).values()
    return {item.of: item.text for item in found if not item.ok}


def store(fleet: FleetInProcess, record: FleetRecord) -> None:
    fleet.base.store.put_small(keys.fleet_key(record.id), records.to_json(record))


def test_complete_fleet_backup_fails_no_condition(fleet: FleetInProcess) -> None:
    record = fleet.run().record
    found = conditions(fleet, "fleet", "coordinator")
    assert {of for name, of in found if name == "fleet"} == {f"host {name}" for name in NAMES}
    assert found["coordinator", "host admin"].text == f"the fleet backup {record.id} ended complete"
    assert all(item.ok for item in found.values())
    assert not failed(fleet, "age", "run")


def test_fleet_that_never_made_a_backup_is_alarmed_at_once(fleet: FleetInProcess) -> None:
    (fleet.folder / "storage").mkdir()
    assert failed(fleet, "fleet") == {"all hosts": "no fleet backup was made yet: backup_fleet makes one"}
    assert failed(fleet, "age") == {
        f"files {name} of {name}": "there is no complete backup" for name in NAMES
    }


def test_host_that_did_not_take_part_fails_its_condition(fleet: FleetInProcess) -> None:
    fleet.down = {"web-2"}
    fleet.clock.step = timedelta(seconds=1)
    record = fleet.run().record
    fleet.clock.step = timedelta()
    reason = "no worker of the queue 'backup-web-2' has begun it within 15 minutes"
    text = f"its part of the fleet backup {record.id} is missing: files web-2 failed: {reason}"
    assert failed(fleet, "fleet") == {"host web-2": text}
    assert failed(fleet, "age") == {"files web-2 of web-2": "there is no complete backup"}
    fleet.down = set()
    assert fleet.run().complete and not failed(fleet, "fleet", "age")


def test_fleet_backup_of_some_hosts_says_nothing_about_the_others(fleet: FleetInProcess) -> None:
    fleet.down = {"web-2"}
    fleet.clock.step = timedelta(seconds=1)
    first = fleet.run().record
    fleet.clock.step = timedelta()
    fleet.clock.ahead += timedelta(minutes=1)
    fleet.run(FleetRequest(hosts=("web-1",)))
    assert first.id in failed(fleet, "fleet")["host web-2"]


def test_host_that_was_declared_later_fails_until_it_is_asked(fleet: FleetInProcess) -> None:
    fleet.run()
    hosts = {**fleet.settings["HOSTS"], "web-4": {"queue": "backup-web-4", "sites": ["web-1"]}}
    assert failed(fleet, "fleet", HOSTS=hosts) == {"host web-4": "no fleet backup has asked for its part yet"}
    assert failed(fleet, "age", HOSTS=hosts) == {"files web-1 of web-4": "there is no complete backup"}


def test_stopped_coordinator_is_an_alarm_and_the_hosts_are_judged_by_the_backup_before(
    fleet: FleetInProcess,
) -> None:
    class Killed(BaseException):
        pass

    def send(name: str, arguments: Mapping[str, Any], **options: Any) -> None:
        raise Killed

    fleet.run()
    fleet.clock.ahead += timedelta(minutes=1)
    with pytest.raises(Killed):
        run_fleet(fleet.context("admin"), FleetRequest(), send)
    assert not failed(fleet, "fleet", "coordinator"), "it may be at work"
    assert "is being made" in conditions(fleet, "coordinator")["coordinator", "host admin"].text
    fleet.clock.ahead += timedelta(minutes=10)
    assert "has not reported since" in failed(fleet, "coordinator")["host admin"]
    assert not failed(fleet, "fleet")
    for claim in fleet.base.store.list(keys.LOCKS):
        fleet.base.store.delete(claim.key)  # it would expire
    assert fleet.run().complete and not failed(fleet, "fleet", "coordinator")


def test_record_that_cannot_be_read_is_an_alarm(fleet: FleetInProcess) -> None:
    record = fleet.run().record
    fleet.base.store.put_small(keys.fleet_key(record.id), b"{")
    assert failed(fleet, "fleet")["all hosts"].startswith(f"the record of {record.id} cannot be read")


def test_record_that_is_dated_in_the_future_hides_no_other(fleet: FleetInProcess) -> None:
    record = fleet.run().record
    far = keys.make_id(fleet.clock() + timedelta(days=9), "00ffff")
    store(fleet, replace(record, id=far, outcome=RUNNING))
    assert not failed(fleet, "fleet", "coordinator")


def test_without_a_fleet_there_are_no_such_conditions(fleet: FleetInProcess) -> None:
    fleet.run()
    assert not conditions(fleet, "fleet", "coordinator", HOSTS=dict.fromkeys(NAMES, {}))
