"""Fleet backups while Redis loses everything, tasks are delivered twice, and a host makes no progress."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.services import unavailable
from tests.services.project import Project
from tests.services.redis import RedisServer, installed
from tests.tasks.celery_app import REDELIVER_SOON, Program, client, worker
from tests.tasks.fleet import DB, WEB_1, WEB_2, FleetHosts, wait_for

pytestmark = pytest.mark.slow

GATED = """
if IGNY8_BACKUP["HOST"] == "web-1":
    gate = {gate!r}
    wait = f"touch {{gate}}.begun; while [ -e {{gate}} ]; do sleep 0.1; done"
    IGNY8_BACKUP["BEFORE_BACKUP"] = [["sh", "-c", wait]]
"""

# Tasks that no host has begun are sent again after seconds, not minutes.
SENDS_SOON = """
INSTALLED_APPS = [*INSTALLED_APPS, "impatient.Impatient"]
"""
IMPATIENT = """
from datetime import timedelta
from django.apps import AppConfig

class Impatient(AppConfig):
    name = "impatient"

    def ready(self):
        from igny8_backup.operations.fleet import coordinate
        coordinate.SEND_AGAIN = timedelta(seconds=2)
"""

REDELIVERS = f"""{REDELIVER_SOON}
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_ANNOTATIONS = {{"*": {{"acks_late": True}}}}
"""

BEAT = timedelta(seconds=1)
# A run counts as killed after five seconds without a heartbeat.
HASTY = """
from datetime import timedelta
from igny8_backup.formats.documents import run_record

run_record.HEARTBEAT = timedelta(seconds=1)
"""


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A file; while it exists, the backup of web-1 waits before it reads its files."""
    gate = tmp_path / "gate"
    gate.touch()
    yield gate
    gate.unlink(missing_ok=True)


def test_redis_that_restarts_empty_gets_the_tasks_again(project: Project, gate: Path, tmp_path: Path) -> None:
    program = installed()
    if program is None:
        unavailable("redis-server is not installed.")
    (tmp_path / "broker").mkdir()
    with RedisServer(program, tmp_path / "broker") as redis:
        fleet = FleetHosts(project, redis.url, SENDS_SOON + GATED.format(gate=str(gate)))
        for host in fleet.hosts.values():
            (host.folder / "settings/impatient.py").write_text(IMPATIENT)
        with fleet.workers((DB, WEB_1)) as workers, fleet.coordinator() as process:
            wait_for(gate.with_suffix(".begun").exists, process)
            assert redis.command("LLEN", "backup-web-2").startswith(b":1")
            redis.restart_empty()
            with fleet.worker(WEB_2) as late:
                late.wait_for("succeeded")
                gate.unlink()
                _, errors = process.communicate()
                assert process.returncode == 0, errors
                workers[WEB_1].wait_for("succeeded")
                again = fleet.db.run("backup_fleet")  # the workers have found the new Redis by themselves
    assert again.returncode == 0, again.stderr
    assert [record["outcome"] for record in fleet.records()] == ["complete", "complete"]


def test_tasks_that_are_delivered_twice_make_one_backup(
    project: Project, redis_server: RedisServer, gate: Path
) -> None:
    redis_server.command("FLUSHALL")
    fleet = FleetHosts(project, redis_server.url, REDELIVERS + GATED.format(gate=str(gate)))
    queue, task = "backup-fleet", "a-task-of-the-coordinator"

    with ExitStack() as stack:
        enter = stack.enter_context
        enter(fleet.workers((DB, WEB_2)))
        hosts = [enter(_another(fleet, WEB_1, f"web-{name}", "backup-web-1")) for name in "ab"]
        coordinators = [enter(_another(fleet, DB, f"fleet-{name}", queue)) for name in "ab"]
        app = enter(client(redis_server.url))
        app.send_task("igny8_backup.backup_fleet", queue=queue, task_id=task)
        coordinators[0].wait_until(gate.with_suffix(".begun").exists)
        hosts[0].wait_until(lambda: ignored("backup_fleet_part", hosts))
        hosts[0].wait_until(lambda: ignored("backup_fleet", coordinators))
        gate.unlink()
        coordinators[0].wait_until(
            lambda: any(f"backup_fleet[{task}] succeeded" in one.output for one in coordinators)
        )
    (record,) = fleet.records()
    assert (record["outcome"], record["task_id"]) == ("complete", task)
    stored = (fleet.db.storage / "igny8/backups").glob("*/manifest.json")
    assert sorted(json.loads(path.read_text())["host"] for path in stored) == [DB, WEB_1, WEB_2]


def ignored(task: str, programs: Sequence[Program]) -> bool:
    """Return whether one of the workers has ignored a second delivery of the task."""
    lines = [line for program in programs for line in program.output.splitlines()]
    return any(f"Task igny8_backup.{task}[" in line and line.rstrip().endswith("ignored") for line in lines)


def _another(fleet: FleetHosts, host: str, name: str, queue: str) -> Program:
    return worker(fleet.hosts[host], name, "--pool=solo", "--queues", queue)


def test_host_without_progress_is_waited_for(project: Project, redis_server: RedisServer) -> None:
    redis_server.command("FLUSHALL")
    fleet = FleetHosts(project, redis_server.url, HASTY)

    def waits() -> bool:
        """Whether the part of db-1 runs for longer than it may without a heartbeat."""
        run = fleet.runs().get((DB, "database"))
        return run is not None and _time(run, "heartbeat") - _time(run, "started") > 8 * BEAT

    with fleet.workers(), project.server.connect(project.database) as session:
        session.execute("BEGIN")
        session.execute("LOCK TABLE accounts_account IN ACCESS EXCLUSIVE MODE")  # the dump waits for it
        with fleet.coordinator() as process:
            wait_for(lambda: fleet.records() and waits(), process)
            session.execute("ROLLBACK")
            _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert [record["outcome"] for record in fleet.records()] == ["complete"]


def _time(run: dict[str, str], field: str) -> datetime:
    return datetime.fromisoformat(run[field])
