"""The quick start of the README prints what it shows."""

from __future__ import annotations

import re

import pytest

from tests.docs.output import as_on_the_page, commands_shown, skeleton
from tests.docs.pages import ROOT, blocks
from tests.docs.test_tutorial import use_new_keys
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
    commands = [item for block in blocks(found[1], "console") for item in commands_shown(block)]
    assert [argv[0] for argv, _ in commands] == [
        "generate_backup_key", "backup_all", "verify_backup", "drill_backup",
    ]  # fmt: skip
    for argv, shown in commands:
        words = [str(project.folder / IDENTITY) if word == IDENTITY else word for word in argv]
        (done,) = run_many(project, words)
        printed = as_on_the_page(done.ended(0).output, project)
        if argv[0] == "generate_backup_key":
            use_new_keys(project, printed)
        else:
            assert skeleton(printed) == skeleton(shown), printed
