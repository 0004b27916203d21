"""The pages on retention, verification, monitoring have the rules, conditions and metrics that there are."""

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


def test_every_rule_of_retention_is_explained() -> None:
    assert first_cells(section(page("how-to/retention"), "## Set the rules")) == {
        field.name for field in dataclasses.fields(Policy)
    }


def test_the_default_policy_is_the_one_of_the_page() -> None:
    (source,) = blocks(section(page("how-to/retention"), "## Set the rules"), "python")
    assert Policy.of(eval("{" + source + "}")["RETENTION"]) == DEFAULT


def test_every_depth_of_verification_is_explained() -> None:
    assert first_cells(page("how-to/verify")) == {STORED, CONTENT}


def test_every_condition_is_explained() -> None:
    source = (PACKAGE / "operations/maintain/monitor.py").read_text()
    conditions = set(re.findall(r'_(?:condition|recent)\(\s*"(\w+)"', source))
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


def test_every_metric_is_explained() -> None:
    text = text_of(Health(now=datetime(2020, 1, 1, tzinfo=UTC), conditions=()))
    metrics = set(re.findall(r"^# TYPE (\w+) gauge$", text, re.MULTILINE))
    assert first_cells(page("reference/metrics")) == metrics
