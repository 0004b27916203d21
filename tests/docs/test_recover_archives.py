"""The page "Recover a dump in several archives by hand" works as written, after "Recover by hand"."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import blocks, page
from tests.docs.test_recovery_by_hand import rows, run, script, tools
from tests.management.commands import Command, run_many
from tests.services.project import Project

pytestmark = [pytest.mark.slow, pytest.mark.services]


def with_archives(text: str) -> str:
    """Return the script of "Recover by hand", with the blocks of the other page where it refers to that."""
    other = "\n".join(blocks(page("how-to/recover-a-dump-in-several-archives"), "sh"))
    whole = r'(?ms)^open_object "backups/\$ID/db/\$ALIAS\.dump.*?command="ANALYZE"$'
    text, found = re.subn(whole, lambda match: other, text)
    assert found == 1
    return text[: text.index("\nTREE=")]


def test_pages_commands_restore_a_dump_in_several_archives(project: Project, tmp_path: Path) -> None:
    tools(project)
    project.seed_small()
    (made,) = run_many(project, Command(["backup_db", "--json"], {"DUMP_JOBS": 3}))
    manifest = made.ended(0).json["manifest"]
    assert len(manifest["databases"][0]["data"]) == 5
    before, recovered = rows(project, project.database), f"{project.database}_recovered"
    values = {
        "STORAGE": str(project.storage / "igny8"),
        "IDENTITY": str(project.identity),
        "WORK": str(tmp_path / "work"),
        "ID": manifest["id"],
        "ALIAS": "default",
        "DATABASE": recovered,
        "TREE": "none",
        "TARGET": "/none",
    }
    done = run(project, with_archives(script(values)), tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert rows(project, recovered) == before
