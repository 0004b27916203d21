"""The page "Back up a fleet": its settings, its files, and its commands with real workers of three hosts."""

from __future__ import annotations

import configparser
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.test import override_settings

from igny8_backup import tasks
from igny8_backup.conf import get_config
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.fleet import SCHEMA, FleetPart, FleetRecord
from tests.docs.output import commands_shown, skeleton
from tests.docs.pages import blocks, page, section
from tests.services.project import Project
from tests.services.redis import RedisServer
from tests.tasks.celery_app import Program
from tests.tasks.fleet import DB, HOSTS, WEB_1, WEB_2, FleetHosts

PAGE = page("how-to/back-up-a-fleet")
WORKER = "## Start a worker on each host"


@pytest.mark.parametrize("host", [DB, WEB_1, WEB_2])
def test_fleet_page_settings_give_each_host_its_part(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_HOST", host)
    monkeypatch.setenv("BACKUP_RECIPIENTS", "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p")
    found: dict[str, Any] = {}
    (source,) = blocks(section(PAGE, "## Declare the hosts"), "python")
    exec(f"import os\n{source}", found)
    assert found["IGNY8_BACKUP"]["HOSTS"] == HOSTS
    with override_settings(IGNY8_BACKUP=found["IGNY8_BACKUP"]):
        config = get_config()
    assert config.databases == tuple(HOSTS[host].get("databases", ()))
    assert [*config.sites] == HOSTS[host].get("sites", []) and not config.unclaimed


def test_fleet_page_schedule_and_limits_name_existing_tasks() -> None:
    found: dict[str, Any] = {}
    exec(blocks(section(PAGE, "## Schedule it"), "python")[0], found)
    entry = found["CELERY_BEAT_SCHEDULE"]["igny8_backup nightly"]
    (worker,) = blocks(section(PAGE, "## Schedule it"), "sh")
    assert entry["task"] == "igny8_backup.backup_fleet" and f"-Q {entry['options']['queue']} " in worker
    exec(blocks(section(PAGE, "## Set limits"), "python")[0], found)
    for name in found["CELERY_TASK_ANNOTATIONS"]:
        assert hasattr(tasks, name.removeprefix("igny8_backup."))


def workers() -> dict[str, list[str]]:
    """Return the command lines of the worker of web-1 that the page shows, by the kind of file."""
    text = section(PAGE, WORKER)
    (line,) = blocks(text.split("\n### ")[0], "sh")
    compose, portainer = blocks(text, "yaml")
    (ini,) = blocks(text, "ini")
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(ini)
    assert unit["Service"]["Restart"] == "always" and unit["Install"]["WantedBy"]
    stack = yaml.safe_load(portainer.replace("${BACKUP_HOST}", WEB_1))
    services = {"compose": yaml.safe_load(compose), "portainer": stack}
    found = {
        "shell": shlex.split(line)[1:],
        "systemd": [Path(word).name for word in shlex.split(unit["Service"]["ExecStart"])],
        "portainer": shlex.split(stack["services"]["backup-worker"]["command"]),
        "compose": services["compose"]["services"]["backup-worker"]["command"],
    }
    for service in services.values():
        (one,) = service["services"].values()
        assert (one["hostname"], one["environment"]["BACKUP_HOST"]) == (WEB_1, WEB_1)
        assert "igny8-backup-state:/data/igny8-backup/state" in one["volumes"]
    return found


def test_fleet_page_shows_one_command_line_for_workers() -> None:
    lines = [*workers().values()]
    assert lines == [lines[0]] * 4
    assert lines[0][:6] == ["celery", "-A", "project", "worker", "-Q", "backup-web-1"]


@pytest.fixture
def fleet(project: Project, redis_server: RedisServer) -> FleetHosts:
    redis_server.command("FLUSHALL")
    return FleetHosts(project, redis_server.url)


def started(fleet: FleetHosts, host: str) -> Program:
    """Return the worker of a host, started with the command line of the page."""
    argv = [word.replace(WEB_1, host) for word in workers()["shell"][3:]]
    return Program(
        fleet.hosts[host], host, *argv, "--loglevel=INFO", f"--hostname={host}@test", ready=" ready."
    )


def lines(text: str) -> list[str]:
    """Return the lines to compare. A part may begin and end between two looks of the coordinator."""
    return [line for line in skeleton(text) if not line.endswith(": begun")]


@pytest.mark.slow
def test_fleet_page_commands_print_what_the_page_shows(fleet: FleetHosts) -> None:
    (block,) = blocks(section(PAGE, "## Make a fleet backup"), "console")
    made = ""
    with started(fleet, DB), started(fleet, WEB_1), started(fleet, WEB_2):
        for argv, shown in commands_shown(block):
            named = [made if keys.is_id(word) else word for word in argv]
            done = fleet.db.run(*named, check=True)
            made = made or fleet.records()[0]["id"]
            printed = (done.stdout + done.stderr).replace(str(fleet.db.storage), "/data/backups")
            printed = printed.replace("environment test", "environment production")
            assert lines(printed) == lines(shown), printed


def test_fleet_size_page_names_the_size_of_the_record() -> None:
    now = datetime(2026, 11, 30, 1, 15, tzinfo=UTC)
    part = FleetPart(
        host="web-0001",
        trees=("sites-data", "uploads"),
        state="complete",
        backup_id="20261130T011500Z-ab12cd",
        manifest_sha256="0" * 64,
    )
    record = FleetRecord(
        schema=SCHEMA,
        id="20261130T011500Z-ab12cd",
        host="web-0001",
        environment="production",
        label="",
        started=now,
        heartbeat=now,
        deadline=now,
        parts=(part,) * 1000,
    )
    size = round(len(records.to_json(record)) / 1000)
    assert f"about 0.3 kB for each part: {size} kB for 1,000 hosts with two trees" in page(
        "explanation/fleet-size"
    )
