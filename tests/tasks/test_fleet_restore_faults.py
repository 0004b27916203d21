"""Fleet restores by real workers: storage in S3, questions on a terminal, a broker that loses its tasks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operations.signed import Keys
from tests.operations.test_s3 import environment, s3  # noqa: F401  (fixture)
from tests.services import unavailable
from tests.services.project import Project
from tests.services.redis import RedisServer, installed
from tests.services.s3 import RcloneS3
from tests.services.terminal import on_a_terminal
from tests.tasks.celery_app import SECONDS, worker
from tests.tasks.fleet import DB, HOSTS, WEB_1, WEB_2, FleetHosts
from tests.tasks.test_fleet_restore import Restored, kill, start, wait_ready, wait_until

pytestmark = pytest.mark.slow

SIGNED = """
IGNY8_BACKUP["TRUSTED"] = {trusted!r}
IGNY8_BACKUP["SIGNING"] = {{"KEY_FILE": {keys!r} + IGNY8_BACKUP["HOST"] + ".key"}}
"""
IMPATIENT = """
from datetime import timedelta
from igny8_backup.formats.documents import run_record

# A host counts as dead after seconds, not minutes, and its task is sent again at once.
run_record.HEARTBEAT = timedelta(seconds=4)
from igny8_backup.operations.fleet.restore import follow
follow.SEND_AGAIN = timedelta(seconds=1)
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis server that a test may stop."""
    program = installed()
    if program is None:
        unavailable("redis-server is not installed.")
    (tmp_path / "broker").mkdir()
    with RedisServer(program, tmp_path / "broker") as redis:
        yield redis


def test_fleet_with_s3_and_signatures_is_restored_and_undone_without_superuser(
    project: Project,
    redis_server: RedisServer,
    s3: RcloneS3,  # noqa: F811
    tmp_path: Path,  # noqa: F811
) -> None:
    redis_server.command("FLUSHALL")
    keys = Keys(tmp_path)
    trusted = [{"KEY": keys.line(name), "HOSTS": [name]} for name in HOSTS]
    project.environment |= environment(s3)
    project.storage = s3.folder / "buckets" / s3.bucket
    signed = SIGNED.format(trusted=trusted, keys=f"{tmp_path}/")
    restored = Restored(FleetHosts(project, redis_server.url, signed))
    fleet = restored.fleet
    assert project.sql("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == [(False,)]
    with fleet.workers():
        fleet.hosts[WEB_1].run(*restored.command(), check=True)
        assert restored.state() == restored.good
        fleet.db.run("undo_restore", "--fleet", "--noinput", check=True)
        assert restored.state() == restored.damaged
    first, second = restored.documents()
    for record in (first, second):
        signatures = project.storage / "igny8/fleets" / record["id"] / "signatures"
        assert len(list(signatures.iterdir())) == 4, "one for each host and one for the record"


def test_fleet_restore_asks_for_the_database_and_stops_the_application_workers(
    project: Project, redis_server: RedisServer
) -> None:
    redis_server.command("FLUSHALL")
    restored = Restored(FleetHosts(project, redis_server.url))
    fleet = restored.fleet
    command = ["restore_all", "--fleet", "--stop-workers"]
    with fleet.workers() as workers, worker(fleet.db, "app", "--pool=solo") as app:
        status, shown = on_a_terminal(fleet.db, b"another_database\n", *command)
        assert status == 2, shown
        assert f"Type the name of the database to replace it ({fleet.db.database}): " in shown
        assert "was not typed. Nothing was changed." in shown
        (record,) = restored.documents()
        assert record["phase"] == "cancelled"
        wait_until(lambda: set(restored.states(record["id"]).values()) == {"withdrawn"})
        assert restored.state() == restored.damaged
        assert all(restored.journals(host) == [] for host in fleet.hosts)
        assert app.process.poll() is None

        status, shown = on_a_terminal(fleet.db, f"{fleet.db.database}\n".encode(), *command)
        assert status == 0, shown
        assert "Stopped these Celery workers; start them again: app@test." in shown
        assert restored.state() == restored.good
        assert app.process.wait(SECONDS) == 0
        assert all(one.process.poll() is None for one in workers.values())


def test_broker_that_loses_its_tasks_and_a_host_that_is_dead_at_the_decision(
    project: Project, broker: RedisServer
) -> None:
    """The hosts go on without the broker, and the task of the dead host is sent again when it is back."""
    restored = Restored(FleetHosts(project, broker.url, IMPATIENT))
    fleet = restored.fleet
    held = restored.hold(WEB_1, IMPATIENT)
    with (
        fleet.workers((DB, WEB_1)),
        fleet.worker(WEB_2) as doomed,
        start(fleet.db, *restored.command()) as coordinator,
    ):
        record = wait_ready(restored, DB, WEB_2)
        broker.restart_empty()
        kill(doomed.process)
        held.unlink()  # the last host becomes ready, and the coordinator decides
        wait_until(lambda: restored.states(record)[WEB_1] == restored.states(record)[DB] == "swapped")
        broker.restart_empty()
        assert restored.journals(WEB_2) == ["ready"]
        with fleet.worker(WEB_2):
            _, errors = coordinator.communicate(timeout=SECONDS)
            assert coordinator.returncode == 0, errors
            assert restored.state() == restored.good
            fleet.db.run("undo_restore", "--fleet", "--noinput", check=True)
            assert restored.state() == restored.damaged
