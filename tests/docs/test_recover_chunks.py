"""The page "Recover a dump in chunks by hand" works as written, after the steps of "Recover by hand"."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from igny8_backup.chunks.cutter import compiled_version
from tests.docs.pages import blocks, page
from tests.docs.test_recovery_by_hand import rows, run, script, tools
from tests.management.commands import Command, run_many
from tests.services.project import Project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.services,
    pytest.mark.skipif(not compiled_version(), reason="pyfastcdc is not installed"),
]


def with_chunks(text: str) -> str:
    """Return the script of "Recover by hand", with the blocks of the other page where it refers to that."""
    other = "\n".join(blocks(page("how-to/recover-a-dump-in-chunks"), "sh"))
    whole = r'(?ms)^open_object "backups/\$ID/db/\$ALIAS\.dump.*?command="ANALYZE"$'
    text, found = re.subn(whole, lambda match: other, text)
    assert found == 1
    return text[: text.index("\nTREE=")]


@pytest.mark.parametrize("jobs", [1, 2])
def test_pages_commands_restore_an_incremental_dump(project: Project, tmp_path: Path, jobs: int) -> None:
    tools(project)
    project.seed_small()
    backup = Command(["backup_db", "--json"], {"CHUNKED_DUMPS": ["default"], "DUMP_JOBS": jobs})
    run_many(project, backup)[0].ended(0)
    project.sql("CREATE TABLE later AS SELECT generate_series(1, 1000) AS n")
    (made,) = run_many(project, backup)
    manifest = made.ended(0).json["manifest"]
    assert manifest["databases"][0]["chunked"]["kind"] == "incremental"
    assert len(manifest["databases"][0]["data"]) == jobs - 1
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
    done = run(project, with_chunks(script(values)), tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.count("The dump is as it was stored") == jobs
    assert rows(project, recovered) == before
