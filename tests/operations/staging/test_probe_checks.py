"""A restored database must give the recorded answers, or nothing live is changed."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.management import state
from tests.management.commands import Command, run_many
from tests.operations.conftest import Saved
from tests.operations.forging import put_dump

QUERY = "SELECT count(*), max(id) FROM probed"


def test_restore_with_differing_answers_stops_before_the_swap(saved: Saved, tmp_path: Path) -> None:
    project, storage = saved.project, tmp_path / "storage"
    storage.mkdir()

    def backup(**probes: str) -> Command:
        return Command(["backup_db", "--json"], {"PROBES": probes}, storage)

    identity = ["--identity", str(project.identity)]
    project.sql("CREATE TABLE probed AS SELECT generate_series(1, 5) AS id")
    full, typo = run_many(project, backup(ids=QUERY), backup(ids=QUERY, typo="SELECT FROM no_such"))
    assert "probes of default FAILED" in typo.ended(3).stderr and "'typo': relation" in typo.stderr
    assert typo.json["manifest"]["databases"][0]["state"] == "complete"
    project.sql("UPDATE probed SET id = 6 WHERE id = 5")
    (moved,) = run_many(project, backup())
    project.sql("DELETE FROM probed WHERE id = 6")
    (fewer,) = run_many(project, backup())
    project.sql("DROP TABLE probed")
    ids = [done.json["manifest"]["id"] for done in (full, moved, fewer)]
    before = state.of_project(project)
    restore = ["restore_all", ids[0], "--only", "db", *identity, "--noinput", "--database-name"]
    extract = ["extract_backup", *restore[1:4], *identity, "--to-database"]
    (shown,) = run_many(project, Command(["show_backup", ids[0], "--json", *identity], {}, storage))
    details = shown.ended(0).json["details"]["databases"][0]
    assert details["row_counts"]["public.probed"] == 5
    assert details["probes"] == [{"name": "ids", "query": QUERY, "rows": [["5", "5"]]}]
    for other, message in (
        (ids[1], "the probe 'ids' returned 5, 5, and now returns 5, 6."),
        (ids[2], "public.probed had 5 rows, and now has 4 rows."),
    ):
        forged = tmp_path / f"forged {other}"
        shutil.copytree(storage, forged)
        put_dump(forged, ids[0], other)
        stopped, beside = run_many(
            project,
            Command([*restore, project.database], {}, forged),
            Command([*extract, f"{project.database}_copy"], {}, forged),
        )
        for done in (stopped, beside):
            assert message in done.ended(6).stderr, done.stderr
    assert state.differences(before, state.of_project(project)) == []
