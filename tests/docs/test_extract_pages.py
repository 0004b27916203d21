"""The pages on restoring one table and one file show what `extract_backup` prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.output import as_on_the_page, commands_shown, skeleton
from tests.docs.pages import blocks, page
from tests.management.commands import run_many
from tests.services.project import Project

KEY = "igny8-backup.key"
FOUND = "/data/found"
SITE = "example.com"


@pytest.mark.slow
def test_extract_pages_show_what_the_command_prints(project: Project, tmp_path: Path) -> None:
    project.seed_small()
    site = sorted(path.name for path in project.sites.iterdir())[0]
    (made,) = run_many(project, ["backup_all"])
    made.ended(0)
    names = {KEY: str(project.identity), FOUND: str(tmp_path / "found"), SITE: site}
    for name in ("restore-one-file", "restore-one-table"):
        argv, shown = commands_shown(blocks(page(f"how-to/{name}"), "console")[0])[0]
        assert argv[0] == "extract_backup"
        (done,) = run_many(project, [names.get(word, word) for word in argv])
        printed = as_on_the_page(done.ended(0).output, project).replace(str(tmp_path / "found"), FOUND)
        assert skeleton(printed) == skeleton(shown), printed
        if name == "restore-one-table":
            project.server.drop_database("igny8_rows")
