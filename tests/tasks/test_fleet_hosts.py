"""What real workers of a fleet answer about their hosts, and what is told of those that do not."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.services.project import Project
from tests.services.redis import RedisServer
from tests.tasks.celery_app import worker
from tests.tasks.fleet import DB, WEB_1, WEB_2, FleetHosts

pytestmark = pytest.mark.slow

ASK = """
import json
from project.celery import app
from igny8_backup.celery.hosts import ask_hosts
from igny8_backup.conf import get_config
found = ask_hosts(get_config())
print(json.dumps({
    "unasked": found.unasked,
    "workers": {key: [one.host, one.version, one.ahead.seconds] for key, one in found.workers.items()},
    "silent": found.silent,
}))
"""


@pytest.fixture
def fleet(project: Project, redis_server: RedisServer) -> Iterator[FleetHosts]:
    redis_server.command("FLUSHALL")
    yield FleetHosts(project, redis_server.url)


def ask(fleet: FleetHosts) -> dict[str, object]:
    lines = fleet.db.run("shell", "-c", ASK, check=True).stdout.splitlines()
    found: dict[str, object] = json.loads(lines[-1])  # newer releases of Django say what they have imported
    return found


def check(fleet: FleetHosts) -> str:
    done = fleet.db.run("check", "--deploy", "--tag", "backup")
    return done.stdout + done.stderr


def test_workers_answer_with_host_release_and_clock(fleet: FleetHosts) -> None:
    with fleet.workers():
        found = ask(fleet)
        text = check(fleet)
    version = "0.1.0"
    assert found == {
        "unasked": "",
        "workers": {name: [name, version, 0] for name in (DB, WEB_1, WEB_2)},
        "silent": [],
    }
    assert "W08" not in text


def test_host_without_worker_is_noted_and_prevents_nothing(fleet: FleetHosts) -> None:
    with fleet.workers((DB, WEB_1)):
        assert ask(fleet)["silent"] == [WEB_2]
        assert "W081" in check(fleet)
        done = fleet.db.run("backup_fleet", DB, WEB_1, check=True)
        assert "No worker answers" not in done.stderr, "the host is not asked for"
        done = fleet.db.run("backup_fleet", "--start-within", "60")
    assert done.returncode == 3
    assert f"No worker answers for {WEB_2} (queue 'backup-{WEB_2}')" in done.stderr


def test_worker_of_another_host_on_the_queue_is_reported(fleet: FleetHosts) -> None:
    with worker(fleet.hosts[WEB_2], "astray", "--pool=solo", "--queues", f"backup-{WEB_1}"):
        text = check(fleet)
    assert "W082" in text and f"{WEB_1} (a worker of {WEB_2})" in text


def test_other_release_and_other_clock_are_reported(fleet: FleetHosts) -> None:
    home = fleet.db.folder / "later"
    home.mkdir()
    # Imported at the start of the worker: a clock that is a minute ahead, and another release.
    (home / "sitecustomize.py").write_text(
        "import igny8_backup, igny8_backup.common.clock as clock\n"
        "from datetime import timedelta\n"
        "now = clock.utc_now\n"
        "clock.utc_now = lambda: now() + timedelta(seconds=90)\n"
        "igny8_backup.__version__ = '9.9'\n"
    )
    env = {"PYTHONPATH": f"{home}:{fleet.db.environment.get('PYTHONPATH', '')}"}
    with worker(fleet.hosts[WEB_1], WEB_1, "--pool=solo", "--queues", f"backup-{WEB_1}", env=env):
        text = check(fleet)
    assert f"{WEB_1} (90 s ahead)" in text.replace("89 s", "90 s") and f"{WEB_1} (9.9)" in text


def test_broker_that_is_down_is_reported_within_seconds(fleet: FleetHosts) -> None:
    fleet.db.environment["CELERY_BROKER_URL"] = "redis://127.0.0.1:1/0"
    assert str(ask(fleet)["unasked"]).startswith("the broker cannot be reached")
    assert "W081" in check(fleet)
