"""Restores of a fleet of three hosts with real workers over a real Redis, and the same by hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.services.project import Project, unmeasured
from tests.services.redis import RedisServer
from tests.tasks.celery_app import SECONDS, worker
from tests.tasks.fleet import DB, HOSTS, SETTINGS, WEB_1, WEB_2, FleetHosts, tree

HOLD = 'IGNY8_BACKUP["BEFORE_RESTORE"] = [["sh", "-c", "while [ -e {hold} ]; do sleep 0.1; done"]]'
LOST = "a row that the backup does not have"


class Restored:
    """A fleet whose three hosts are backed up and then damaged. ``id`` is that of the fleet backup."""

    def __init__(self, fleet: FleetHosts) -> None:
        self.fleet = fleet
        for host in fleet.hosts.values():
            host.environment["IGNY8_BACKUP_IDENTITY_FILE"] = str(fleet.db.identity)
        with fleet.workers():
            fleet.db.run("backup_fleet", check=True)
        (record,) = fleet.records()
        self.id = record["id"]
        self.good = self.state()
        self.damage()
        self.damaged = self.state()
        assert self.good != self.damaged

    def state(self) -> dict[str, Any]:
        """Return the files of the web hosts, and the number of rows of a table."""
        web_1, web_2 = self.fleet.hosts[WEB_1], self.fleet.hosts[WEB_2]
        ((rows,),) = self.fleet.db.sql("SELECT count(*) FROM accounts_account")
        return {
            "web-1 sites": live(web_1.sites),
            "web-1 uploads": live(web_1.uploads),
            "web-2 sites": live(web_2.sites),
            "rows": rows,
        }

    def damage(self) -> None:
        web_1, web_2 = self.fleet.hosts[WEB_1], self.fleet.hosts[WEB_2]
        (web_1.uploads / "logo.png").unlink()
        (web_2.sites / "index.html").write_text("defaced\n")
        (web_1.sites / "index.html").write_text("defaced\n")
        self.fleet.db.sql("ALTER TABLE accounts_account RENAME TO gone")
        self.fleet.db.sql("CREATE TABLE accounts_account AS SELECT * FROM gone LIMIT 0")

    def command(self, *options: str) -> list[str]:
        return ["restore_all", "--fleet", "--noinput", "--database-name", self.fleet.db.database, *options]

    def documents(self) -> list[dict[str, Any]]:
        """Return the records of all fleet restores, oldest first."""
        found = sorted((self.fleet.db.storage / "igny8/fleets").glob("*/restore.json"))
        return [json.loads(path.read_text()) for path in found]

    def states(self, restore_id: str) -> dict[str, str]:
        """Return the state of each host that has answered."""
        folder = self.fleet.db.storage / "igny8/fleets" / restore_id
        found = [json.loads(path.read_text()) for path in folder.glob("*.restore.json")]
        return {one["host"]: one["state"] for one in found}

    def hold(self, host: str, further: str = "") -> Path:
        """Let a hook of this host, whose worker runs not yet, wait until the returned file is removed.

        ``further`` are more settings of this host.
        """
        path = self.fleet.hosts[host].folder / "hold"
        path.touch()
        further += HOLD.format(hold=path)
        self.fleet.hosts[host].settings(SETTINGS.format(hosts=HOSTS, further=further))
        return path

    def journals(self, host: str) -> list[str]:
        """Return the phases of the restores on a host."""
        folder = self.fleet.hosts[host].state / "restores"
        return [json.loads(path.read_text())["phase"] for path in sorted(folder.glob("*.json"))]

    def age(self, restore_id: str) -> None:
        """Make the killed coordinator of a fleet restore look dead, as it does after five minutes."""
        path = self.fleet.db.storage / "igny8/fleets" / restore_id / "restore.json"
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, "heartbeat": "2020-01-01T00:00:00Z"}))
        for claim in (self.fleet.db.storage / "igny8/locks").glob("*.json"):
            claim.unlink()


def live(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in tree(folder).items() if not name.startswith(".")}


def wait_until(found: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def restored(project: Project, redis_server: RedisServer) -> Iterator[Restored]:
    redis_server.command("FLUSHALL")
    yield Restored(FleetHosts(project, redis_server.url))


def test_fleet_restore_brings_back_all_hosts_and_undo_goes_back(restored: Restored) -> None:
    fleet = restored.fleet
    with fleet.workers():
        with worker(fleet.db, "app", "--pool=solo"):
            refused = fleet.db.run(*restored.command())
            assert refused.returncode == 4, refused.stderr
            assert "1 worker is running (app@test)" in refused.stderr
            assert "Nothing was changed on any host." in refused.stderr
        planned = fleet.db.run(*restored.command("--dry-run"), check=True)
        assert f"Plan: restore the fleet backup {restored.id} on 3 hosts" in planned.stdout
        assert "database default: from" in planned.stdout and "which is REPLACED" in planned.stdout
        assert restored.state() == restored.damaged
        done = fleet.hosts[WEB_1].run(*restored.command(), check=True)
        assert f"Restored the fleet backup {restored.id} on 3 hosts." in done.stdout
        assert restored.state() == restored.good
        *_, last = restored.documents()
        assert (last["phase"], last["host"]) == ("done", WEB_1)
        assert restored.states(last["id"]) == {DB: "swapped", WEB_1: "swapped", WEB_2: "swapped"}
        folder = fleet.db.storage / "igny8/fleets" / restored.id
        assert len(list(folder.glob("*.restored.json"))) == 3

        undone = fleet.db.run("undo_restore", "--fleet", "--noinput", check=True)
        assert f"Plan: undo the fleet restore {last['id']} on 3 hosts" in undone.stdout
        assert restored.state() == restored.damaged
        again = fleet.db.run("undo_restore", "--fleet", last["id"], "--noinput", "--json", check=True)
        assert {host["state"] for host in json.loads(again.stdout)["hosts"]} == {"swapped"}
        assert restored.state() == restored.damaged
    assert not list((fleet.db.storage / "igny8/locks").glob("*.json"))


def test_fleet_restore_with_a_host_without_identity_changes_nothing(restored: Restored) -> None:
    fleet = restored.fleet
    del fleet.hosts[WEB_2].environment["IGNY8_BACKUP_IDENTITY_FILE"]
    with fleet.workers():
        done = fleet.db.run(*restored.command())
    assert done.returncode == 4, done.stderr
    assert "web-2: The backup is encrypted and no identity is given." in done.stderr
    assert "Nothing was changed on any host." in done.stderr
    assert restored.state() == restored.damaged
    assert [record["phase"] for record in restored.documents()] == ["cancelled"]
    assert all(restored.journals(host) == [] for host in fleet.hosts)


def test_fleet_restore_that_cannot_be_prepared_on_one_host_changes_nothing(restored: Restored) -> None:
    fleet = restored.fleet
    failing = 'IGNY8_BACKUP["BEFORE_RESTORE"] = [["sh", "-c", "exit 7"]]'
    fleet.hosts[WEB_2].settings(SETTINGS.format(hosts=HOSTS, further=failing))
    with fleet.workers():
        done = fleet.db.run(*restored.command())
        assert done.returncode == 1, done.stderr
        assert (
            "The fleet restore was cancelled, because not every host is ready. web-2: failed:" in done.stderr
        )
        assert "Nothing live was changed on any host." in done.stderr
        (record,) = restored.documents()
        wait_until(lambda: restored.states(record["id"])[WEB_1] == "withdrawn")
        wait_until(lambda: restored.states(record["id"])[DB] == "withdrawn")
    assert restored.state() == restored.damaged
    assert all(restored.journals(host) == [] for host in fleet.hosts)
    assert fleet.db.databases() == [fleet.db.database]


def test_host_joins_a_fleet_restore_by_hand(restored: Restored) -> None:
    fleet = restored.fleet
    web_2 = fleet.hosts[WEB_2]
    del web_2.environment["IGNY8_BACKUP_IDENTITY_FILE"]
    with fleet.workers((DB, WEB_1)), fleet.db.start(*restored.command("--by-hand", WEB_2)) as coordinator:
        wait_until(restored.documents)
        (record,) = restored.documents()
        joined = web_2.run("restore_all", "--join", record["id"], "--identity", fleet.db.identity)
        out, errors = coordinator.communicate(timeout=SECONDS)
    assert joined.returncode == 0, joined.stderr
    assert coordinator.returncode == 0, errors
    line = f"Run on the host web-2: python manage.py restore_all --join {record['id']} --identity FILE"
    assert line in errors
    assert f"The part of web-2 in the fleet restore {record['id']}: swapped." in joined.stdout
    assert restored.state() == restored.good


def test_host_killed_when_ready_changes_nothing_if_the_restore_is_cancelled(restored: Restored) -> None:
    fleet = restored.fleet
    held = restored.hold(WEB_1)
    web_2 = fleet.hosts[WEB_2]
    with fleet.workers((DB, WEB_1)):
        with fleet.worker(WEB_2) as doomed, start(fleet.db, *restored.command()) as coordinator:
            record = wait_ready(restored, DB, WEB_2)
            kill(doomed.process)
            waits = web_2.run("restore_all")
            assert waits.returncode == 4 and "waits until all hosts of the fleet restore" in waits.stderr
            waits = web_2.run("undo_restore")
            assert waits.returncode == 4 and "waits until all hosts of the fleet restore" in waits.stderr
            coordinator.send_signal(signal.SIGINT)
            coordinator.communicate(timeout=SECONDS)
            assert coordinator.returncode == 130
        held.unlink()
        wait_until(lambda: restored.states(record)[WEB_1] == restored.states(record)[DB] == "withdrawn")
    assert restored.journals(WEB_2) == ["ready"]
    web_2.run("undo_restore", check=True)
    assert all(restored.journals(host) == [] for host in fleet.hosts)
    assert restored.state() == restored.damaged


def test_host_killed_after_the_decision_completes_its_swap(restored: Restored) -> None:
    fleet = restored.fleet
    held = restored.hold(WEB_1)
    web_2 = fleet.hosts[WEB_2]
    with (
        fleet.workers((DB, WEB_1)),
        fleet.worker(WEB_2) as doomed,
        start(fleet.db, *restored.command()) as coordinator,
    ):
        record = wait_ready(restored, DB, WEB_2)
        kill(doomed.process)
        held.unlink()  # the last host becomes ready, and the coordinator decides
        wait_until(lambda: restored.states(record)[WEB_1] == restored.states(record)[DB] == "swapped")
        assert restored.journals(WEB_2) == ["ready"]
        assert live(web_2.sites) == restored.damaged["web-2 sites"]
        web_2.run("restore_all", "--join", record, check=True)
        out, errors = coordinator.communicate(timeout=SECONDS)
        assert coordinator.returncode == 0, errors
    assert restored.state() == restored.good
    assert restored.journals(WEB_2) == ["done"]


def test_coordinator_killed_before_the_decision_cancels_at_the_next_run(restored: Restored) -> None:
    fleet = restored.fleet
    held = restored.hold(WEB_1)
    with fleet.workers(), start(fleet.db, *restored.command()) as coordinator:
        record = wait_ready(restored, DB, WEB_2)
        kill(coordinator)
        held.unlink()
        wait_ready(restored, DB, WEB_1, WEB_2)
        assert restored.state() == restored.damaged
        early = fleet.db.run(*restored.command())
        assert early.returncode == 5 and f"The fleet restore {record} is under way" in early.stderr
        restored.age(record)
        done = fleet.db.run(*restored.command(), check=True)
        assert "was stopped before the decision. It was cancelled." in done.stderr
        assert set(restored.states(record).values()) == {"withdrawn"}
    assert restored.state() == restored.good
    assert [one["phase"] for one in restored.documents()] == ["cancelled", "done"]


def test_coordinator_killed_after_the_decision_is_completed_by_the_next_run(restored: Restored) -> None:
    fleet = restored.fleet
    held = restored.hold(WEB_1)
    with fleet.workers((DB, WEB_1)):
        with fleet.worker(WEB_2) as doomed, start(fleet.db, *restored.command()) as coordinator:
            record = wait_ready(restored, DB, WEB_2)
            kill(doomed.process)
            held.unlink()
            wait_until(lambda: restored.documents()[0]["phase"] == "swapping")
            kill(coordinator)
        wait_until(lambda: restored.states(record)[WEB_1] == restored.states(record)[DB] == "swapped")
        restored.age(record)
        fleet.hosts[WEB_2].run("restore_all", check=True)  # by its journal alone
        with fleet.worker(WEB_2):
            path = fleet.db.storage / "igny8/fleets" / record / f"{WEB_2}.restore.json"
            state = json.loads(path.read_text())
            path.write_text(json.dumps({**state, "heartbeat": "2020-01-01T00:00:00Z"}))
            done = fleet.db.run(*restored.command("--json"), check=True)
        found = json.loads(done.stdout)
    assert found["resumed"] and found["fleet_restore"]["phase"] == "done"
    assert {host["state"] for host in found["hosts"]} == {"swapped"}
    assert restored.state() == restored.good


def test_fleet_backup_is_restored_by_hand_on_each_host(restored: Restored) -> None:
    fleet = restored.fleet
    (record,) = fleet.records()
    named = ["--noinput", "--database-name", fleet.db.database]
    first = fleet.db.run("restore_all", restored.id, *named, check=True)
    assert "also has parts of web-1, web-2. To restore these, run on each of them" in first.stdout
    second = fleet.hosts[WEB_1].run("restore_all", restored.id, *named, check=True)
    assert "The host db-1 has restored this fleet backup, at" in second.stdout
    assert "also has parts of web-2." in second.stdout
    fleet.hosts[WEB_2].run("restore_all", restored.id, *named, check=True)
    assert restored.state() == restored.good
    shown = fleet.db.run("show_backup", restored.id, check=True)
    assert all(part["backup_id"] in shown.stdout for part in record["parts"])
    for command in ("verify_backup", "drill_backup"):
        refused = fleet.db.run(command, restored.id)
        assert refused.returncode == 2, refused.stderr
        assert all(part["backup_id"] in refused.stderr for part in record["parts"])


def start(project: Project, *argv: str) -> subprocess.Popen[str]:
    return project.start(*argv, env=unmeasured(project.environment))


def kill(process: subprocess.Popen[Any]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait(SECONDS)


def wait_ready(restored: Restored, *hosts: str) -> str:
    """Wait until these hosts are ready in the only fleet restore; return its id."""
    wait_until(restored.documents)
    (record,) = restored.documents()
    restore_id = str(record["id"])
    wait_until(lambda: all(restored.states(restore_id).get(host) == "ready" for host in hosts))
    return restore_id
