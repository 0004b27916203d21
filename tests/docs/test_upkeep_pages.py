"""The pages on retention, verification and monitoring list every rule, condition and metric."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime
from pathlib import Path

import igny8_backup
from igny8_backup.conf import Limits
from igny8_backup.formats.annotations import CONTENT, STORED
from igny8_backup.management.prometheus import text_of
from igny8_backup.operations.maintain.monitor import Health
from igny8_backup.retention import DEFAULT, Policy
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
    source = (PACKAGE / "operations/maintain/monitor.py").read_text()
    conditions = set(re.findall(r'ondition\(\s*"(\w+)"', source))
    assert first_cells(page("how-to/monitor").split("\n## ")[0]) == conditions
    shown = {
        line.split()[1].rstrip(",")
        for line in blocks(page("how-to/monitor"), "console")[0].splitlines()[1:-1]
    }
    assert shown == conditions
    limits = Limits()
    assert (
        limits.verified and limits.verified.days == 9 and "began within nine days" in page("how-to/monitor")
    )
    assert limits.drilled and limits.drilled.days == 35 and "began within 35 days" in page("how-to/monitor")


def test_metrics_page_lists_every_metric() -> None:
    text = text_of(Health(now=datetime(2020, 1, 1, tzinfo=UTC), conditions=()))
    metrics = set(re.findall(r"^# TYPE (\w+) gauge$", text, re.MULTILINE))
    assert first_cells(page("reference/metrics")) == metrics
