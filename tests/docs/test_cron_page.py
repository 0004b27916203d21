"""The files of the page "Schedule backups with cron or systemd" are valid and name existing options."""

from __future__ import annotations

import configparser
import dataclasses
import re
import shlex
import subprocess
from datetime import timedelta
from typing import Any

import pytest
import yaml
from celery.schedules import crontab
from django.core.management import load_command_class
from django.test import override_settings

from igny8_backup.conf import get_config
from igny8_backup.retention.policy import Part
from igny8_backup.retention.rules import DEFAULT
from tests.docs.pages import blocks, page, section

HEADINGS = ("## crontab", "## systemd timer", "## Docker Compose", "## Portainer stack")


def code(heading: str, language: str) -> list[str]:
    return blocks(section(page("how-to/schedule-with-cron-or-systemd"), heading), language)


@pytest.mark.parametrize("heading", HEADINGS)
def test_cron_page_commands_accept_their_options(heading: str) -> None:
    text = (
        section(page("how-to/schedule-with-cron-or-systemd"), heading).replace('", "', " ").replace('"]', "")
    )
    found = re.findall(r"manage\.py (\w+)([^\n>]*)", "\n".join(text.split("```")[1::2]))
    assert found
    for name, rest in found:
        command: Any = load_command_class("igny8_backup", name)
        command.create_parser("manage.py", name).parse_args(shlex.split(rest))


def test_cron_page_crontab_is_valid() -> None:
    (text,) = code("## crontab", "text")
    lines = [line.split(None, 6) for line in text.splitlines() if line[0].isdigit()]
    assert len(lines) == 4
    for minute, hour, day, month, weekday, user, command in lines:
        crontab(minute, hour, day_of_month=day, month_of_year=month, day_of_week=weekday)
        assert user == "app"
        subprocess.run(["/bin/sh", "-n", "-c", command], check=True)


def test_cron_page_systemd_units_are_valid() -> None:
    service, timer = code("## systemd timer", "ini")
    units = []
    for text in (service, timer):
        unit = configparser.ConfigParser(interpolation=None)
        unit.optionxform = str  # type: ignore[assignment,method-assign]
        unit.read_string(text)
        units.append(unit)
    assert units[0]["Service"]["Type"] == "oneshot" and units[0]["Service"]["ExecStart"].startswith("/")
    assert units[1]["Timer"]["OnCalendar"] == "*-*-* *:15:00" and units[1]["Install"]["WantedBy"]


@pytest.mark.parametrize("heading", HEADINGS[2:])
def test_cron_page_services_keep_their_state(heading: str) -> None:
    (text,) = code(heading, "yaml")
    found = yaml.safe_load(text)
    (service,) = found["services"].values()
    assert service["hostname"] == "web-1"
    assert "igny8-backup-state:/data/igny8-backup/state" in service["volumes"]
    assert set(found["volumes"]) == {"igny8-backup-state"}


def test_cron_page_stack_sleeps_until_a_quarter_past_the_hour() -> None:
    (text,) = code("## Portainer stack", "yaml")
    script = yaml.safe_load(text)["services"]["igny8-backup"]["command"][2].replace("$$", "$")
    subprocess.run(["/bin/sh", "-n", "-c", script], check=True)
    (formula,) = re.findall(r"sleep \$\(\( (.*) \)\)", script)
    for now in (0, 899, 900, 901, 3599):
        asked = formula.replace("$(date -u +%s)", str(now + 20 * 86_400))
        said = subprocess.run(["/bin/sh", "-c", f"echo $(( {asked} ))"], check=True, capture_output=True)
        assert 1 <= int(said.stdout) <= 3600
        assert (now + int(said.stdout)) % 3600 == 901


def test_cron_page_settings_are_accepted() -> None:
    text = page("how-to/schedule-with-cron-or-systemd").split("\n## ")[0]
    found: dict[str, Any] = {}
    exec(blocks(text, "python")[0], found)
    with override_settings(IGNY8_BACKUP=found["IGNY8_BACKUP"]):
        config = get_config()
    assert dataclasses.replace(config.retention, hourly=0) == DEFAULT
    part = Part(host="web-1", kind="files", name="sites-data")
    assert config.max_age_of(part) == timedelta(hours=3)


def test_cron_page_beat_schedule_has_all_entries() -> None:
    found: dict[str, Any] = {}
    exec(code("## Celery beat", "python")[0], found)
    assert len(found["CELERY_BEAT_SCHEDULE"]) == 5
