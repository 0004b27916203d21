"""SIGKILL of the coordinator and of a host at each step: the next run works, complete parts restore."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from demo.server import PostgresServer
from django.conf import settings

from igny8_backup.catalog.fleets import read_fleets
from igny8_backup.errors import LockedError
from igny8_backup.formats import keys
from igny8_backup.formats.documents.fleet import FleetRecord
from igny8_backup.formats.manifest import COMPLETE, FAILED, RUNNING
from igny8_backup.operations.fleet.coordinate import run_fleet
from igny8_backup.operations.fleet.request import FleetRequest
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify
from igny8_backup.store import Store
from tests.databases.stage import Stage, configured
from tests.operations.fleet.child import Child
from tests.operations.fleet.conftest import NAMES, FleetInProcess
from tests.trees.tools import exit_of_child

pytestmark = pytest.mark.slow

DB = "db-1"
HOSTS = (DB, *NAMES)
NEVER_BEGUN = "the coordinator was stopped before the host began"


@dataclass(frozen=True)
class Moment:
    """Before or ``after`` a call of ``method`` for a key that contains ``word``.

    With ``field``, the call stores a document in which this field is not empty.
    """

    method: str
    word: str
    after: bool = False
    field: str = ""

    def kills(self, store: Store) -> None:
        """Let this process be killed at the moment."""
        called: Callable[..., Any] = getattr(store, self.method)

        def call(key: str, *args: Any, **options: Any) -> Any:
            dies = self.word in key and not (self.field and not json.loads(args[0])[self.field])
            if dies and not self.after:
                die()
            result = called(key, *args, **options)
            if dies:
                die()
            return result

        setattr(store, self.method, call)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def served(
    fleet: FleetInProcess, pg: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FleetInProcess]:
    """The fleet with a further host, ``db-1``, that backs up a database."""
    stage = Stage(pg, tmp_path)
    stage.create()
    fleet.settings |= {
        "DATABASES": [stage.alias],
        "CLIENT_BIN_DIR": pg.bin_dir,
        "HOSTS": {
            DB: {"queue": f"backup-{DB}", "databases": [stage.alias]},
            **fleet.settings["HOSTS"],
        },
    }
    monkeypatch.setitem(settings.DATABASES, stage.alias, stage.settings())
    with configured(stage.alias, stage.settings()):
        yield fleet
    pg.drop_database(stage.name)


def states(record: FleetRecord) -> dict[str, str]:
    return {part.host: part.state for part in record.parts}


def assert_verified(fleet: FleetInProcess, backup_id: str) -> None:
    found = verify(fleet.context("admin"), VerifyRequest(backup_id=backup_id, depth="content"))
    assert found.problems() == []


def assert_next_run_works(fleet: FleetInProcess) -> None:
    """Make a fleet backup, and verify every part of all of them that is complete."""
    assert fleet.run().complete
    for found in read_fleets(fleet.base.store, fleet.base.config.trust):
        assert found.record.outcome != RUNNING
        for part in found.record.parts:
            if part.state == COMPLETE:
                assert_verified(fleet, part.backup_id)
            else:
                assert part.reason


COORDINATOR_STEPS: dict[str, tuple[Moment | None, str, set[str] | None, dict[str, str]]] = {
    "locked": (Moment("put", "fleet.json"), "", None, {}),
    "recorded": (Moment("put", "fleet.json", after=True), "", set(), dict.fromkeys(HOSTS, NEVER_BEGUN)),
    "sent": (None, f"after {DB}", {DB}, dict.fromkeys(NAMES, NEVER_BEGUN)),
    "databases ended": (None, f"before {NAMES[0]}", {DB}, dict.fromkeys(NAMES, NEVER_BEGUN)),
    "all ended": (Moment("put_small", "fleet.json", field="finished"), "", {*HOSTS}, {}),
}
"""The moment or the task at which the coordinator is killed, the hosts whose parts are then complete, or
``None`` without a record, and the reasons why the others are missing."""


@pytest.mark.parametrize("step", COORDINATOR_STEPS)
def test_coordinator_killed_is_settled_by_the_next_run(
    served: FleetInProcess, tmp_path: Path, step: str
) -> None:
    moment, task, complete, missing = COORDINATOR_STEPS[step]
    queue = tmp_path / "queue"
    queue.touch()

    def send(name: str, arguments: Mapping[str, Any], **options: Any) -> None:
        if task == f"before {arguments['host']}":
            die()
        with queue.open("a") as file:
            file.write(f"{json.dumps(dict(arguments))}\n")
        if task == f"after {arguments['host']}":
            die()

    def coordinate() -> None:
        if moment:
            moment.kills(served.base.store)
        run_fleet(served.context("admin"), FleetRequest(), send)

    assert end_of_coordinator(served, coordinate, queue) == -signal.SIGKILL
    with pytest.raises(LockedError, match="the fleet backup 20.* on host admin"):
        served.run()
    let_claims_expire(served)
    assert_next_run_works(served)
    first, *others = [one.record for one in read_fleets(served.base.store, served.base.config.trust)][::-1]
    if complete is None:
        assert not others, "the killed coordinator has left no record"
    else:
        assert {host for host, state in states(first).items() if state == COMPLETE} == complete
        assert {part.host: part.reason for part in first.missing()} == missing


def end_of_coordinator(fleet: FleetInProcess, work: Callable[[], None], queue: Path) -> int:
    """Do ``work`` in a process of its own, and in this one the tasks in ``queue``; return how it ended."""
    child, done = Child(work), 0
    while True:
        ended = child.poll() is not None  # before the queue is read: nothing is added later
        tasks = queue.read_text().splitlines()
        if done < len(tasks):
            arguments = json.loads(tasks[done])
            fleet.work(arguments["host"], arguments)
            done += 1
        elif ended:
            return child.wait()
        else:
            time.sleep(0.01)


def let_claims_expire(fleet: FleetInProcess) -> None:
    """Let ten minutes pass: for claims in the storage, whose age the storage knows, and for the clock."""
    folder = fleet.base.store.local_path()
    assert folder is not None
    before = time.time() - 600
    for path in (folder / keys.LOCKS).iterdir():
        os.utime(path, (before, before))
    fleet.clock.ahead += timedelta(minutes=10)


STOPPED = "the host has stopped reporting, last at 20"
HOST_STEPS = {
    "before its record": ("web-2", Moment("put", "runs/"), COMPLETE, 0),
    "with the snapshot": (
        DB,
        Moment("put_small", f"{DB}.database", after=True, field="snapshots"),
        FAILED,
        0,
    ),
    "while files are stored": ("web-2", Moment("put", "packs/web-2"), FAILED, 0),
    "after the manifest": ("web-2", Moment("put", "manifest.json", after=True), FAILED, 1),
}
"""The host that is killed and when, what becomes of its part, and how many backups of it then exist."""


@pytest.mark.parametrize("step", HOST_STEPS)
def test_host_killed_is_a_failed_part_unless_it_had_not_begun(served: FleetInProcess, step: str) -> None:
    victim, moment, state, stored = HOST_STEPS[step]
    killed: list[int] = []

    def send(name: str, arguments: Mapping[str, Any], **options: Any) -> None:
        if arguments["host"] != victim or killed:
            served.send(name, arguments, **options)
            return

        def work() -> None:
            moment.kills(served.base.store)
            served.work(victim, arguments)

        killed.append(exit_of_child(work))
        served.clock.step = timedelta(seconds=5)

    record = run_fleet(served.context("admin"), FleetRequest(), send).record
    served.clock.step = timedelta()
    assert killed == [-signal.SIGKILL]
    assert states(record) == {**dict.fromkeys(HOSTS, COMPLETE), victim: state}
    assert [part.reason.startswith(STOPPED) for part in record.missing()] == [True] * (state == FAILED)
    manifests = [one for one in served.base.catalog.manifests() if one.host == victim]
    assert len(manifests) == (1 if state == COMPLETE else stored)
    for manifest in manifests:
        assert_verified(served, manifest.id)
    assert_next_run_works(served)


def test_host_killed_makes_its_part_when_the_task_is_delivered_again(fleet: FleetInProcess) -> None:
    killed: list[int] = []

    def send(name: str, arguments: Mapping[str, Any], **options: Any) -> None:
        def work() -> None:
            Moment("put", "manifest.json").kills(fleet.base.store)
            fleet.work("web-2", arguments)

        if arguments["host"] == "web-2":
            killed.append(exit_of_child(work))
            fleet.clock.ahead += timedelta(seconds=1)
        fleet.send(name, arguments, **options)  # a late acknowledgement: the broker delivers the task again

    record = run_fleet(fleet.context("admin"), FleetRequest(), send).record
    assert (killed, record.outcome) == ([-signal.SIGKILL], COMPLETE)
    backups = {part.backup_id for part in record.parts}
    assert {manifest.id for manifest in fleet.base.catalog.manifests()} == backups
    outcomes = [run.outcome for run in fleet.base.catalog.runs()]
    assert sorted(outcomes) == [*[COMPLETE] * len(NAMES), RUNNING]
