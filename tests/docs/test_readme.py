"""The quick start of the README prints what it shows."""

from __future__ import annotations

import re

import pytest

from tests.docs.output import as_on_the_page, commands_shown, skeleton
from tests.docs.pages import ROOT, blocks
from tests.management.commands import run_many
from tests.services.project import Project

README = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = 150
IDENTITY = "igny8-backup.key"


def test_readme_stays_short() -> None:
    assert len(README.splitlines()) <= LINES


@pytest.mark.slow
def test_readme_quick_start_prints_what_it_shows(project: Project) -> None:
    project.seed_small()
    found = re.search(r"<!-- quick start -->\n(.*?)<!-- /quick start -->", README, re.DOTALL)
    assert found is not None
    (block,) = blocks(found[1], "console")
    make_key, *commands = commands_shown(block)
    assert make_key == (["generate_backup_key", IDENTITY], "")
    assert len(commands) == 3
    for argv, shown in commands:
        (done,) = run_many(project, [str(project.identity) if word == IDENTITY else word for word in argv])
        printed = as_on_the_page(done.ended(0).output, project)
        assert skeleton(printed) == skeleton(shown), printed
