"""The pages on retention, verification and monitoring list every rule, condition and metric."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.test import override_settings

import igny8_backup
from igny8_backup.conf import Limits, get_config
from igny8_backup.formats.documents.annotations import CONTENT, STORED
from igny8_backup.management.prometheus import text_of
from igny8_backup.operations.monitor.health import Health
from igny8_backup.retention.rules import DEFAULT, Policy
from tests.docs.pages import blocks, code_cells, page, section

PACKAGE = Path(igny8_backup.__file__).parent


def first_cells(text: str) -> set[str]:
    return {name for cell in code_cells(text) for name in cell}


def test_retention_page_explains_every_rule() -> None:
    assert first_cells(section(page("how-to/retention"), "## Set the rules")) == {
        field.name for field in dataclasses.fields(Policy)
    }


def test_retention_page_shows_the_default_policy() -> None:
    (source,) = blocks(section(page("how-to/retention"), "## Set the rules"), "python")
    assert Policy.of(eval("{" + source + "}")["RETENTION"]) == DEFAULT


def test_verify_page_explains_every_depth() -> None:
    assert first_cells(page("how-to/verify")) == {STORED, CONTENT}


def test_monitor_page_explains_every_condition() -> None:
    folder = PACKAGE / "operations/monitor"
    source = "".join(path.read_text() for path in folder.glob("*.py"))
    conditions = set(re.findall(r'(?:ondition|recency)\(\s*"(\w+)"', source))
    assert first_cells(page("how-to/monitor").split("\n## ")[0]) == conditions
    shown = {
        line.split()[1].rstrip(",")
        for line in blocks(page("how-to/monitor"), "console")[0].splitlines()[1:-1]
    }
    assert shown == conditions
    limits, text = Limits(), page("how-to/monitor")
    assert limits.verified and limits.verified.days == 9 and "of the part began within nine days" in text
    assert limits.drilled and limits.drilled.days == 35 and "of the part began within 35 days" in text


def test_metrics_page_lists_every_metric() -> None:
    text = text_of(Health(now=datetime(2020, 1, 1, tzinfo=UTC), conditions=()))
    metrics = set(re.findall(r"^# TYPE (\w+) gauge$", text, re.MULTILINE))
    assert first_cells(page("reference/metrics")) == metrics


def test_hourly_page_settings_and_table_fit_the_schedule() -> None:
    text, found = page("how-to/back-up-every-hour"), dict[str, Any]()
    exec(blocks(text, "python")[0], found)
    with override_settings(IGNY8_BACKUP={"ENCRYPTION": None, **found["IGNY8_BACKUP"]}):
        policy = get_config().retention
    exec(blocks(text, "python")[1], found)
    assert len(found["CELERY_BEAT_SCHEDULE"]["igny8_backup hourly"]["schedule"].hour) == 6
    assert dataclasses.replace(policy, hourly=0) == DEFAULT and policy.hourly == 48
    entries = found["CELERY_BEAT_SCHEDULE"].values()
    assert {entry["task"].removeprefix("igny8_backup.") for entry in entries} == first_cells(text)
    rules = ("last", "hourly", "daily", "weekly", "monthly")
    assert f"{sum(getattr(policy, rule) for rule in rules)}\nbackups at most" in text
