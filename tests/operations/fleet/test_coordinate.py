"""The coordinator of a fleet backup: parts that succeed, fail, come late, twice or never."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from igny8_backup.catalog.fleets import read_fleet, read_fleets
from igny8_backup.errors import LockedError, UsageError
from igny8_backup.formats import keys
from igny8_backup.formats.manifest import COMPLETE, FAILED, INCOMPLETE, RUNNING
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run_record import RunRecorder
from igny8_backup.operations.fleet.coordinate import run_fleet
from igny8_backup.operations.fleet.part import run_part
from igny8_backup.operations.fleet.request import FleetRequest
from tests.operations.conftest import Notes
from tests.operations.fleet.conftest import NAMES, FleetInProcess, part_request


def states(fleet: FleetInProcess, fleet_id: str) -> dict[str, str]:
    found = read_fleet(fleet.base.store, fleet.base.config.trust, fleet_id)
    assert found
    return {part.host: part.state for part in found.record.parts}


def notes(fleet: FleetInProcess) -> str:
    assert isinstance(fleet.base.progress, Notes)
    return "\n".join(fleet.base.progress.texts)


def test_fleet_backup_collects_the_backups_of_all_hosts(fleet: FleetInProcess) -> None:
    result = fleet.run(FleetRequest(label="nightly"))
    assert result.complete and result.record.outcome == COMPLETE and result.record.label == "nightly"
    manifests = {manifest.host: manifest for manifest in fleet.base.catalog.manifests()}
    assert set(manifests) == set(NAMES)
    for part in result.record.parts:
        manifest = manifests[part.host]
        assert (manifest.id, manifest.fleet, manifest.label) == (part.backup_id, result.record.id, "nightly")
        assert [tree.name for tree in manifest.trees] == [part.host]
    assert not list(fleet.base.store.list(keys.LOCKS))


def test_host_that_never_begins_is_a_failed_part_and_the_others_are_kept(fleet: FleetInProcess) -> None:
    fleet.down = {"web-2"}
    fleet.clock.step = timedelta(seconds=10)
    result = fleet.run()
    assert result.record.outcome == INCOMPLETE
    (missing,) = result.record.missing()
    assert missing.reason == "no worker of the queue 'backup-web-2' has begun it within 15 minutes"
    assert result.problems() == [f"web-2: files web-2 FAILED: {missing.reason}"]
    assert fleet.sent.count("web-2") > 1, "the task is sent again, in case the broker has lost it"
    assert {item.host for item in fleet.base.catalog.manifests()} == {"web-1", "web-3"}


def test_task_that_comes_after_the_part_was_given_up_does_nothing(fleet: FleetInProcess) -> None:
    late: list[Mapping[str, Any]] = []

    def send(name: str, arguments: Mapping[str, Any], **options: Any) -> None:
        if arguments["host"] == "web-2":
            late.append(arguments)
        else:
            fleet.send(name, arguments, **options)

    fleet.clock.step = timedelta(seconds=10)
    record = run_fleet(fleet.context("admin"), FleetRequest(), send).record
    assert run_part(fleet.context("web-2"), part_request(late[0])) is None
    assert "does not wait for this part any more: web-2: files web-2" in notes(fleet)
    assert states(fleet, record.id)["web-2"] == FAILED
    assert len(fleet.base.catalog.manifests()) == 2


def test_task_delivered_twice_makes_one_backup(fleet: FleetInProcess) -> None:
    def send(name: str, arguments: Mapping[str, Any], **options: Any) -> None:
        fleet.send(name, arguments, **options)
        fleet.send(name, arguments, **options)

    assert run_fleet(fleet.context("admin"), FleetRequest(), send).complete
    assert len(fleet.base.catalog.manifests()) == len(NAMES)


def test_broker_that_is_down_for_a_while_delays_the_parts(fleet: FleetInProcess) -> None:
    fleet.unreachable = 5
    assert fleet.run().complete
    assert notes(fleet).count("not sent yet. The broker cannot be reached") == 3


def test_broker_that_stays_down_fails_all_parts_and_says_so(fleet: FleetInProcess) -> None:
    fleet.unreachable = 1_000_000
    fleet.clock.step = timedelta(seconds=10)
    result = fleet.run()
    assert result.record.outcome == FAILED
    assert {part.reason for part in result.record.parts} == {
        "the task could not be sent: The broker cannot be reached (OperationalError)."
    }


def test_part_that_fails_names_its_error(fleet: FleetInProcess) -> None:
    (fleet.folder / "web-3" / "index.html").unlink()
    (fleet.folder / "web-3").rmdir()
    result = fleet.run()
    (missing,) = result.record.missing()
    assert (missing.host, missing.reason) == ("web-3", "web-3 (FilesError); the log of its worker says why")


def test_host_whose_settings_lack_the_tree_is_a_failed_part_at_once(fleet: FleetInProcess) -> None:
    def send(name: str, arguments: Mapping[str, Any], **options: Any) -> None:
        if arguments["host"] == "web-1":
            request = replace(part_request(arguments), trees=("other",))
            with pytest.raises(UsageError, match="The settings of this host have no files 'other'"):
                run_part(fleet.context("web-1"), request)
        else:
            fleet.send(name, arguments, **options)

    result = run_fleet(fleet.context("admin"), FleetRequest(), send)
    assert [part.reason for part in result.record.missing()] == [
        "run (UsageError); the log of its worker says why"
    ]


def test_killed_host_is_a_failed_part_after_its_heartbeat_has_stopped(fleet: FleetInProcess) -> None:
    def send(name: str, arguments: Mapping[str, Any], **options: Any) -> None:
        if arguments["host"] != "web-2":
            return fleet.send(name, arguments, **options)
        own, now = fleet.context("web-2"), fleet.clock()
        request = BackupRequest(trees=("web-2",), fleet=arguments["fleet"], task_id=options["task_id"])
        recorder = RunRecorder(own, request, keys.make_id(now, "abcdef"), now, ())
        recorder.claim_id()  # and then the process is killed
        fleet.clock.step = timedelta(seconds=5)
        return None

    result = run_fleet(fleet.context("admin"), FleetRequest(), send)
    (missing,) = result.record.missing()
    assert (missing.host, missing.backup_id[-6:]) == ("web-2", "abcdef")
    assert missing.reason.startswith("the host has stopped reporting, last at 20")


def test_part_for_another_host_is_refused(fleet: FleetInProcess) -> None:
    result = fleet.run()
    request = part_request(
        {
            "fleet": result.record.id,
            "host": "web-1",
            "databases": [],
            "trees": ["web-1"],
            "full": False,
            "label": "",
        }
    )
    with pytest.raises(UsageError, match="This host is 'web-2', but the task is for 'web-1'"):
        run_part(fleet.context("web-2"), request)
    with pytest.raises(UsageError, match="There is no fleet backup '../../x'"):
        run_part(fleet.context("web-1"), replace(request, fleet="../../x"))


def test_fleet_backup_excludes_other_runs_until_it_ends(fleet: FleetInProcess) -> None:
    def send(name: str, arguments: Mapping[str, Any], **options: Any) -> None:
        with (
            pytest.raises(LockedError, match="the fleet backup 20.* on host admin"),
            fleet.context("web-9").locked("pruning"),
        ):
            pass
        fleet.send(name, arguments, **options)

    assert run_fleet(fleet.context("admin"), FleetRequest(), send).complete


def test_killed_coordinator_is_completed_by_the_next_run(fleet: FleetInProcess) -> None:
    class Killed(BaseException):
        pass

    def send(name: str, arguments: Mapping[str, Any], **options: Any) -> None:
        if arguments["host"] == "web-3":
            raise Killed
        fleet.send(name, arguments, **options)

    with pytest.raises(Killed):
        run_fleet(fleet.context("admin"), FleetRequest(), send)
    (killed,) = read_fleets(fleet.base.store, fleet.base.config.trust)
    assert killed.record.outcome == RUNNING
    with pytest.raises(LockedError, match=f"the fleet backup {killed.record.id}"):
        fleet.run()
    fleet.base.store.delete(keys.lock_key(killed.record.id))  # as if it had expired
    fleet.clock.ahead += timedelta(minutes=10)
    assert fleet.run().complete
    assert states(fleet, killed.record.id) == {"web-1": COMPLETE, "web-2": COMPLETE, "web-3": FAILED}
    assert f"coordinator of the fleet backup {killed.record.id} was stopped" in notes(fleet)


def test_host_completes_its_part_after_the_coordinator_was_killed(fleet: FleetInProcess) -> None:
    class Killed(BaseException):
        pass

    asked: dict[str, Any] = {}

    def send(name: str, arguments: Mapping[str, Any], **options: Any) -> None:
        asked.update(arguments)
        raise Killed

    with pytest.raises(Killed):
        run_fleet(fleet.context("admin"), FleetRequest(hosts=("web-3",)), send)
    result = run_part(fleet.context("web-3"), part_request(asked))
    assert result and result.manifest and result.manifest.fleet == asked["fleet"]
    assert [item.key for item in fleet.base.store.list(keys.LOCKS)] == [keys.lock_key(asked["fleet"])]


def test_coordinator_stopped_by_ctrl_c_releases_the_lock_if_no_host_is_at_work(
    fleet: FleetInProcess,
) -> None:
    def send(name: str, arguments: Mapping[str, Any], **options: Any) -> None:
        if arguments["host"] == "web-3":
            raise KeyboardInterrupt
        fleet.send(name, arguments, **options)

    with pytest.raises(KeyboardInterrupt):
        run_fleet(fleet.context("admin"), FleetRequest(), send)
    (stopped,) = read_fleets(fleet.base.store, fleet.base.config.trust)
    assert stopped.record.finished
    assert states(fleet, stopped.record.id) == {"web-1": COMPLETE, "web-2": COMPLETE, "web-3": FAILED}
    assert f"The fleet backup {stopped.record.id} was stopped: incomplete." in notes(fleet)
    fleet.clock.ahead += timedelta(seconds=1)
    assert fleet.run().complete


def test_coordinator_stopped_by_ctrl_c_leaves_the_lock_to_a_host_at_work(fleet: FleetInProcess) -> None:
    def send(name: str, arguments: Mapping[str, Any], **options: Any) -> None:
        own, now = fleet.context("web-3"), fleet.clock()
        request = BackupRequest(trees=("web-3",), fleet=arguments["fleet"], task_id=options["task_id"])
        RunRecorder(own, request, keys.make_id(now, "abcdef"), now, ()).claim_id()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_fleet(fleet.context("admin"), FleetRequest(hosts=("web-3",)), send)
    (stopped,) = read_fleets(fleet.base.store, fleet.base.config.trust)
    assert stopped.record.outcome == RUNNING
    with pytest.raises(LockedError, match=f"the fleet backup {stopped.record.id}"):
        fleet.run()


def test_second_delivery_of_the_coordinator_does_nothing(fleet: FleetInProcess) -> None:
    request = FleetRequest(task_id="a task")
    first = fleet.run(request)
    again = fleet.run(request)
    assert again.repeated and again.record.id == first.record.id
    assert len(fleet.sent) == len(NAMES)


def test_only_chosen_hosts_take_part(fleet: FleetInProcess) -> None:
    record = fleet.run(FleetRequest(hosts=("web-3",))).record
    assert [part.host for part in record.parts] == ["web-3"]
    with pytest.raises(UsageError, match="declares no host 'db-1' with a queue. .*Choose among: web-1"):
        fleet.run(FleetRequest(hosts=("db-1",)))


def test_record_of_a_part_is_that_of_its_run(fleet: FleetInProcess) -> None:
    record = fleet.run().record
    for part in record.parts:
        own = fleet.base.store.read_small(keys.fleet_part_key(record.id, part.host, part.kind))
        run = json.loads(fleet.base.store.read_small(keys.run_key(part.backup_id)))
        assert json.loads(own) == run and run["fleet"] == record.id
        assert run["manifest_sha256"] == part.manifest_sha256
