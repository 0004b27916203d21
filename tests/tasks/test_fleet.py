"""Fleet backups by real workers of three hosts over a real Redis."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import unavailable
from tests.services.project import Project
from tests.services.redis import RedisServer, installed
from tests.tasks.fleet import DB, WEB_1, WEB_2, FleetHosts, wait_for

IMPATIENT = """
import os
from datetime import timedelta
from igny8_backup.formats.documents import claims, run_record

# A run counts as killed after seconds, not minutes.
run_record.HEARTBEAT = timedelta(seconds=4)
claims.RENEWAL, claims.LEASE = timedelta(seconds=1), timedelta(seconds=5)
if IGNY8_BACKUP["HOST"] == "web-1":
    gate = {gate!r}
    wait = f"touch {{gate}}.begun; while [ -e {{gate}} ]; do sleep 0.1; done"
    IGNY8_BACKUP["BEFORE_BACKUP"] = [["sh", "-c", wait]]
"""
SEND_ASTRAY = """
from project.celery import app
app.send_task("igny8_backup.backup_fleet", queue="backup-web-1")
"""


@pytest.fixture
def fleet(project: Project, redis_server: RedisServer) -> Iterator[FleetHosts]:
    redis_server.command("FLUSHALL")
    yield FleetHosts(project, redis_server.url)


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file; while it exists, the backup of web-1 waits before it reads its files."""
    gate = tmp_path / "gate"
    gate.touch()
    return gate


@pytest.fixture
def held(project: Project, redis_server: RedisServer, gate: Path) -> Iterator[FleetHosts]:
    """A fleet in which the part of web-1 waits at the ``gate``."""
    redis_server.command("FLUSHALL")
    yield FleetHosts(project, redis_server.url, IMPATIENT.format(gate=str(gate)))
    gate.unlink(missing_ok=True)


def test_fleet_backup_of_three_hosts_is_one_backup_with_one_id(fleet: FleetHosts) -> None:
    with fleet.workers() as workers:
        done = fleet.db.run("backup_fleet", "--label", "nightly", check=True)
        (record,) = fleet.records()
        assert f"Fleet backup {record['id']}: 3 parts on 3 hosts." in done.stderr
        assert record["outcome"] == "complete" and record["label"] == "nightly"
        parts = {(part["host"], *part["databases"], *part["trees"]): part for part in record["parts"]}
        assert set(parts) == {
            (DB, "default"),
            (WEB_1, "sites-data", "uploads"),
            (WEB_2, "sites-data"),
        }
        database = fleet.manifest(parts[DB, "default"]["backup_id"])
        for (host, *_), part in parts.items():
            manifest = fleet.manifest(part["backup_id"])
            assert (manifest["fleet"], manifest["host"]) == (record["id"], host)
            assert manifest["started"] >= database["started"]
        again = fleet.hosts[WEB_2].run("backup_fleet", "--json", check=True)
        # A coordinator in the only process of a host would wait for itself.
        fleet.db.run("shell", "-c", SEND_ASTRAY, check=True)
        workers[WEB_1].wait_for("which is the queue of the host 'web-1' in IGNY8_BACKUP['HOSTS']")
    second = json.loads(again.stdout)["fleet"]
    assert second["host"] == WEB_2 and second["outcome"] == "complete"
    assert len(fleet.records()) == 2
    assert not list((fleet.db.storage / "igny8/locks").glob("*.json"))


@pytest.mark.slow
def test_killed_worker_is_failed_part_and_next_run_works(held: FleetHosts, gate: Path) -> None:
    with held.workers((DB, WEB_2)), held.worker(WEB_1) as worker, held.coordinator() as process:
        wait_for(gate.with_suffix(".begun").exists, process)
        os.killpg(worker.process.pid, signal.SIGKILL)
        _, errors = process.communicate()
    assert process.returncode == 3
    assert f"{WEB_1}: files sites-data, uploads FAILED: the host has stopped reporting, last at 20" in errors
    gate.unlink()
    with held.workers():
        done = held.db.run("backup_fleet", "--wait", "60", check=True)
    assert "3 parts on 3 hosts" in done.stderr
    assert [record["outcome"] for record in held.records()] == ["incomplete", "complete"]


@pytest.mark.slow
def test_killed_coordinator_is_completed_by_the_next_run(held: FleetHosts, gate: Path) -> None:
    with held.workers() as workers, held.coordinator() as process:
        wait_for(gate.with_suffix(".begun").exists, process)
        workers[WEB_2].wait_for("succeeded")
        process.kill()
        process.wait()
        gate.unlink()
        workers[WEB_1].wait_for("succeeded")
        assert [record["outcome"] for record in held.records()] == ["running"]
        done = held.hosts[WEB_2].run("backup_fleet", "--wait", "60", check=True)
    assert "was stopped before it ended. Its record was completed: complete." in done.stderr
    assert [record["outcome"] for record in held.records()] == ["complete", "complete"]


@pytest.mark.slow
def test_broker_that_stops_in_the_middle_does_not_matter(
    project: Project, gate: Path, tmp_path: Path
) -> None:
    program = installed()
    if program is None:
        unavailable("redis-server is not installed.")
    (tmp_path / "broker").mkdir()
    with RedisServer(program, tmp_path / "broker") as redis:
        fleet = FleetHosts(project, redis.url, IMPATIENT.format(gate=str(gate)))
        with fleet.workers() as workers, fleet.coordinator() as process:
            wait_for(gate.with_suffix(".begun").exists, process)
            redis.stop()
            gate.unlink()
            _, errors = process.communicate()
            for worker in workers.values():
                worker.process.kill()  # without a broker it would not end by itself
    assert process.returncode == 0, errors
    assert [record["outcome"] for record in fleet.records()] == ["complete"]


def test_second_coordinator_waits_or_gives_up(held: FleetHosts, gate: Path) -> None:
    with held.workers(), held.coordinator() as process:
        wait_for(gate.with_suffix(".begun").exists, process)
        second = held.hosts[WEB_2].run("backup_fleet", "--wait", "0")
        gate.unlink()
        _, errors = process.communicate()
    assert (second.returncode, process.returncode) == (5, 0), errors
    # The runs of the hosts share the lock, and on a slow machine not only that of DB may still have it.
    whose = "|".join((DB, WEB_1, WEB_2))
    assert re.search(rf"the fleet backup {held.records()[0]['id']} on host ({whose}), since", second.stderr)
