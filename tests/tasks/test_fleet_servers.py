"""A fleet with two PostgreSQL servers whose backups are signed and lie in S3."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from demo.server import PostgresServer

from tests.operations.signed import Keys
from tests.services import unavailable
from tests.services.project import Project
from tests.services.redis import RedisServer
from tests.services.s3 import RcloneS3, installed
from tests.tasks.fleet import DB, WEB_1, WEB_2, FleetHosts, wait_for

pytestmark = pytest.mark.slow

DB_2, SECOND = "db-2", "second"
HOSTS: dict[str, dict[str, Any]] = {
    DB: {"queue": "backup-db-1", "databases": ["default"]},
    DB_2: {"queue": "backup-db-2", "databases": [SECOND], "sites": ["uploads"]},
    WEB_1: {"queue": "backup-web-1", "sites": ["sites-data"]},
    WEB_2: {"queue": "backup-web-2", "sites": ["sites-data"]},
}
SETTINGS = """
from project.environment import from_url

DATABASES["second"] = from_url({url!r})
IGNY8_BACKUP["TRUSTED"] = {trusted!r}
if IGNY8_BACKUP["HOST"] == "db-2":
    # Each run waits before its databases are dumped.
    gate = {gate!r}
    wait = f"touch {{gate}}.begun; while [ -e {{gate}} ]; do sleep 0.1; done"
    IGNY8_BACKUP["BEFORE_BACKUP"] = [["sh", "-c", wait]]
"""


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A file; while it exists, the backups of db-2 wait before they begin."""
    gate = tmp_path / "gate"
    gate.touch()
    yield gate
    gate.unlink(missing_ok=True)


@pytest.fixture
def second(postgres_16: PostgresServer, project: Project) -> Iterator[str]:
    """A database on another server than that of the project."""
    name = f"{project.database}_second"
    postgres_16.create_database(name)
    with postgres_16.connect(name) as connection:
        connection.execute("CREATE TABLE item AS SELECT n, md5(n::text) FROM generate_series(1, 1000) n")
    yield name
    postgres_16.drop_database(name)


@pytest.fixture
def fleet(
    project: Project,
    redis_server: RedisServer,
    postgres_16: PostgresServer,
    second: str,
    gate: Path,
    tmp_path: Path,
) -> Iterator[FleetHosts]:
    redis_server.command("FLUSHALL")
    program = installed()
    if program is None:
        unavailable("rclone is not installed.")
    keys = Keys(tmp_path)
    trusted = [
        {"KEY": keys.line(name), "HOSTS": [name], "PARTS": _tokens(declared)}
        for name, declared in HOSTS.items()
    ]
    (tmp_path / "s3").mkdir()
    with RcloneS3(program, tmp_path / "s3") as s3:
        project.environment |= {
            "IGNY8_BACKUP_S3_BUCKET": s3.bucket,
            "IGNY8_BACKUP_S3_ENDPOINT": s3.endpoint,
            "IGNY8_BACKUP_S3_ACCESS_KEY": s3.access_key,
            "IGNY8_BACKUP_S3_SECRET_KEY": s3.secret_key,
        }
        settings = SETTINGS.format(url=postgres_16.url(second), trusted=trusted, gate=str(gate))
        fleet = FleetHosts(project, redis_server.url, settings, HOSTS)
        project.storage = s3.folder / "buckets" / s3.bucket  # where the test reads what is stored
        fleet.hosts[DB_2].environment["IGNY8_BACKUP_CLIENT_BIN_DIR"] = str(postgres_16.bin_dir)
        for name, host in fleet.hosts.items():
            host.environment["IGNY8_BACKUP_SIGNING_KEY"] = str(keys.file(name))
        yield fleet


def _tokens(declared: Mapping[str, Any]) -> list[str]:
    """Return what the key of a host may sign for, as ``PARTS`` in ``TRUSTED`` names it."""
    kinds = {"databases": "database", "sites": "files"}
    return [f"{kind}:{name}" for key, kind in kinds.items() for name in declared.get(key, ())]


def test_files_follow_the_snapshots_of_both_servers(fleet: FleetHosts, gate: Path) -> None:
    with fleet.workers(tuple(HOSTS)) as workers, fleet.coordinator() as process:
        wait_for(gate.with_suffix(".begun").exists, process)
        workers[DB].wait_for("succeeded")
        assert {kind for _, kind in fleet.runs()} == {"database"}, "files wait for the snapshot on db-2"
        gate.unlink()
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    (record,) = fleet.records()
    assert (record["outcome"], len(record["parts"])) == ("complete", 5)
    runs = fleet.runs()
    snapshots = [runs[host, "database"]["snapshots"] for host in (DB, DB_2)]
    assert all(run["started"] >= max(snapshots) for (_, kind), run in runs.items() if kind == "files")
    assert runs[DB_2, "files"]["started"] >= runs[DB_2, "database"]["finished"]

    shown = fleet.db.run("show_backup", record["id"], check=True)
    assert "not trusted" not in shown.stdout
    listed = json.loads(fleet.db.run("list_backups", "--json", check=True).stdout)
    assert {entry["untrusted"] for entry in listed} == {""} and len(listed) == 5
    for part in record["parts"]:
        if part["databases"]:
            assert part["backup_id"] in shown.stdout
            identity = ("--identity", fleet.db.identity)
            fleet.db.run("verify_backup", part["backup_id"], "--depth", "content", *identity, check=True)
    monitored = fleet.db.run("monitor_backups", "--json")
    conditions = json.loads(monitored.stdout)["conditions"]
    assert [one for one in conditions if not one["ok"]] == [], monitored.stderr
