"""Fleet backups by real workers of three hosts over a real Redis."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.services.project import Project
from tests.services.redis import RedisServer
from tests.tasks.fleet import DB, HOSTS, WEB_1, WEB_2, FleetHosts


@pytest.fixture
def fleet(project: Project, redis_server: RedisServer) -> Iterator[FleetHosts]:
    redis_server.command("FLUSHALL")
    yield FleetHosts(project, redis_server.url)


def test_fleet_backup_of_three_hosts_is_one_backup_with_one_id(fleet: FleetHosts) -> None:
    with fleet.workers():
        done = fleet.db.run("backup_fleet", "--label", "nightly", check=True)
        (record,) = fleet.records()
        assert f"Fleet backup {record['id']}: 4 parts on 3 hosts." not in done.stdout
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
    second = json.loads(again.stdout)["fleet"]
    assert second["host"] == WEB_2 and second["outcome"] == "complete"
    assert len(fleet.records()) == 2
    assert not list((fleet.db.storage / "igny8/locks").glob("*.json"))


def test_host_without_worker_is_failed_part_and_others_are_kept(fleet: FleetHosts) -> None:
    with fleet.workers((DB, WEB_1)):
        done = fleet.db.run("backup_fleet", "--start-within", "60")
    assert done.returncode == 3, done.stderr
    reason = f"no worker of the queue {HOSTS[WEB_2]['queue']!r} has begun it within 1 minute"
    assert f"{WEB_2}: files sites-data FAILED: {reason}" in done.stderr
    (record,) = fleet.records()
    assert record["outcome"] == "incomplete"
    assert {part["host"]: part["state"] for part in record["parts"]} == {
        DB: "complete",
        WEB_1: "complete",
        WEB_2: "failed",
    }
