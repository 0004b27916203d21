"""Incomplete backups: failures are listed, complete parts are kept, and the exit status says so."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from igny8_backup.journal import DONE, Journal, Journals, TreeSwap
from tests.docs.pages import assert_shown
from tests.management.commands import Command, run_many
from tests.management.state import differences, manifests, objects, of_project, of_tree
from tests.services.project import Project

DEPTH = 520  # nested folders: deeper than a walk goes, so that root too meets something unreadable


def dig(root: Path) -> None:
    """Create folders nested so deep that the innermost are skipped."""
    here = os.open(root, os.O_RDONLY)
    for _ in range(DEPTH):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)


def outcomes(project: Project) -> list[str]:
    """The outcomes of the runs, oldest first."""
    runs = [json.loads(path.read_text()) for path in (project.storage / "igny8/runs").glob("2*.json")]
    return [run["outcome"] for run in sorted(runs, key=lambda run: str(run["started"]))]


def test_backup_missing_tree_fails_only_the_tree(project: Project) -> None:
    project.seed_small()
    before = of_project(project)
    missing = {"SITES": {"sites-data": str(project.sites), "uploads": str(project.folder / "not mounted")}}
    none = project.folder / "no clients"
    none.mkdir()
    broken: dict[str, Any] = {**missing, "CLIENT_BIN_DIR": str(none)}
    old, partly, nothing, partly_json, listed, by_id, restored = run_many(
        project,
        ["backup_all", "--json"],
        Command(["backup_all"], missing),
        Command(["backup_all", "--json"], {**broken, "SITES": {"uploads": str(project.folder / "gone")}}),
        Command(["backup_all", "--json"], {**missing}),
        ["list_backups"],
        ["restore_all", "--dry-run", "--only", "uploads", "--identity", project.identity],
        ["restore_all", "--noinput", "--database-name", project.database, "--identity", project.identity],
    )
    oldest = old.ended(0).json["manifest"]["id"]
    assert "uploads FAILED: The folder" in partly.ended(3).stderr and "not mounted" in partly.stderr
    assert "Completed with problems; see above" in partly.stderr
    assert "database default" in partly.stdout and "files sites-data" in partly.stdout

    # Where no part is complete there is no backup; the first failure decides the exit status.
    failure = nothing.ended(1).json
    assert failure["error"] == "ToolMissingError" and failure["exit_status"] == 1
    assert "no pg_dump" in failure["message"]
    assert "uploads FAILED: The folder" in nothing.stderr
    assert len(manifests(project)) == 3

    made = partly_json.ended(3).json
    assert made["whole"] is False
    states = {part["name"]: (part["state"], part["error"]) for part in made["manifest"]["trees"]}
    assert states == {"sites-data": ("complete", ""), "uploads": ("failed", "FilesError")}
    assert "uploads (failed)" in listed.ended(0).stdout and "INCOMPLETE" in listed.stdout
    assert outcomes(project) == ["complete", "incomplete", "failed", "incomplete"]

    # The newest complete database, the files of the same backup, and the missing ones from another.
    assert oldest in by_id.ended(0).stdout
    assert f"The files of 'uploads' come from backup {oldest}" in restored.ended(0).stdout
    assert "BEFORE the database" in restored.stdout
    assert differences(before, of_project(project)) == []


def test_backup_unreadable_files_are_listed(project: Project) -> None:
    project.seed_small()
    dig(project.uploads)
    (project.uploads / "a socket \x1b[2J").touch()
    plain, as_json, listed = run_many(
        project,
        ["backup_sites", "uploads"],
        ["backup_sites", "uploads", "--json"],
        ["list_backups", "--json"],
    )
    assert "d/d/d/d" in plain.ended(3).stderr and "deeper than" in plain.stderr
    (skipped,) = as_json.ended(3).json["skipped"]
    assert (skipped["tree"], skipped["path"][:4]) == ("uploads", "d/d/")
    newest, _ = listed.ended(0).json
    (tree,) = newest["manifest"]["trees"]
    assert (tree["state"], tree["skipped"]) == ("complete", 1)
    assert outcomes(project) == ["incomplete", "incomplete"]
    shown, without = run_many(
        project, ["show_backup", newest["id"], "--identity", project.identity], ["show_backup", newest["id"]]
    )
    assert "d/d/d/d" in shown.ended(0).stdout and "deeper than" in shown.stdout
    assert "d/d/d" not in without.ended(0).stdout, "file names are shown only with the key"
    assert "--identity" in without.stdout
    shutil.rmtree(project.uploads / "d")


def test_backup_of_paths_that_no_backup_holds_writes_nothing_to_stderr(project: Project) -> None:
    (project.uploads / ".before-20261122T021500Z").mkdir()
    kept = TreeSwap(name="uploads", root=str(project.uploads), previous="")
    journal = Journal(
        schema=2,
        stamp="20261122T021500Z",
        phase=DONE,
        started=datetime.now(UTC),
        backup_ids=(),
        trees=(kept,),
    )
    journals = Journals(project.state)
    journals.write(journal)
    os.mkfifo(project.uploads / "fifo")
    first, nightly, as_json = run_many(
        project, *[["backup_sites", "uploads"]] * 2, ["backup_sites", "uploads", "--json"]
    )
    first.ended(0)
    assert nightly.ended(0).stderr == as_json.ended(0).stderr == ""
    assert "not in the backup: uploads: .before-20261122T021500Z: belongs to" in nightly.stdout
    assert "not in the backup: uploads: fifo: a FIFO" in nightly.stdout
    journals.remove(journal)
    (unknown,) = run_many(project, ["backup_sites", "uploads"])
    assert "no journal in STATE_DIR names it, so it is backed up" in unknown.ended(0).stderr
    assert "not in the backup: uploads: .before" not in unknown.stdout


def test_show_backup_of_a_failed_part_gives_the_reason(project: Project) -> None:
    project.uploads.rmdir()
    (made,) = run_many(project, ["backup_sites", "--json"])
    project.uploads.mkdir()
    backup_id = made.ended(3).json["manifest"]["id"]
    without, shown = run_many(
        project,
        ["show_backup", backup_id],
        ["show_backup", backup_id, "--identity", project.identity],
    )
    reason = "files uploads (sites): failed, a folder or file could not be read or written (FilesError)"
    assert reason in without.ended(0).stdout and reason in shown.ended(0).stdout
    assert "the folder" in shown.stdout.lower() and "uploads failed: The folder" in shown.stdout


def test_backup_excluded_rows_are_reported(project: Project) -> None:
    project.seed_small()
    before = of_project(project)
    views = {"EXCLUDE_TABLE_DATA": {"default": ["igny8_sites_pageview"]}}
    pointed_at = {"EXCLUDE_TABLE_DATA": {"default": ["accounts_account"]}}
    unknown = {"EXCLUDE_TABLE_DATA": {"default": ["no_such_table"]}}
    refused, absent, made = run_many(
        project,
        Command(["backup_db"], pointed_at),
        Command(["backup_db"], unknown),
        Command(["backup_db", "--json"], views),
    )
    assert "could never be restored" in refused.ended(4).stderr and "accounts_account" in refused.stderr
    assert_shown(refused.stderr)
    assert "no_such_table" in absent.ended(4).stderr
    assert len(manifests(project)) == 1
    identity = ["--identity", str(project.identity)]
    shown, restored = run_many(
        project,
        ["show_backup", made.ended(0).json["manifest"]["id"], *identity],
        ["restore_all", "--noinput", "--database-name", project.database, "--only", "db", *identity],
    )
    assert "without the rows of public.igny8_sites_pageview" in shown.ended(0).stdout
    restored.ended(0)
    lines = differences(before, of_project(project))
    assert lines, "a partitioned table is left out with its partitions"
    for line in lines:
        assert line.startswith("table public.igny8_sites_pageview_") and line.endswith("(0, Decimal('0'))")


def test_backup_two_databases_restore_together_and_separately(project: Project) -> None:
    second = f"{project.database}_second"
    project.server.create_database(second)
    project.sql("CREATE TABLE notes (text text); INSERT INTO notes VALUES ('as it was')", database=second)
    project.settings(
        "import os\nfrom project.environment import from_url\n"
        "DATABASES['second'] = from_url(os.environ['SECOND_URL'])\n"
        "DATABASES['replica'] = {**DATABASES['default'], 'TEST': {'MIRROR': 'default'}}\n"
    )
    project.environment["SECOND_URL"] = project.server.url(second)
    before = of_project(project)
    options = ["--noinput", "--database-name", project.database, "--database-name", second]
    options += ["--identity", str(project.identity)]
    made, one = run_many(project, ["backup_db", "--json"], ["backup_db", "second", "--json"])
    assert [part["alias"] for part in made.ended(0).json["manifest"]["databases"]] == ["default", "second"]
    assert [part["alias"] for part in one.ended(0).json["manifest"]["databases"]] == ["second"]
    project.sql("UPDATE notes SET text = 'changed'", database=second)
    project.sql("DELETE FROM igny8_sites_pageview")
    unnamed, single, undone, both = run_many(
        project,
        ["restore_all", *options[:3], *options[5:], "--only", "db"],
        ["restore_all", "--only", "second", *options],
        ["undo_restore"],
        ["restore_all", "--only", "db", *options],
    )
    assert f"--database-name {second}" in unnamed.ended(2).stderr
    assert (
        f"database {second}:" in single.ended(0).stdout
        and f"database {project.database}:" not in single.stdout
    )
    undone.ended(0)
    both.ended(0)
    assert project.sql("SELECT text FROM notes", database=second) == [("as it was",)]
    assert differences(before, of_project(project)) == []


def test_backup_trees_without_database_work(project: Project) -> None:
    project.seed_small()
    before = of_tree(project.uploads)
    down = {"DATABASE_URL": project.environment["DATABASE_URL"].replace(f":{project.server.port}/", ":1/")}
    saved, restored = run_many(
        project,
        ["backup_sites", "uploads"],
        ["restore_all", "--only", "uploads", "--noinput", "--identity", project.identity],
        env=down,
    )
    assert "The lock on the database server could not be taken" in saved.ended(0).stderr
    restored.ended(0)
    assert of_tree(project.uploads) == before
    assert [path.name for path in objects(project, "details.json.zst.age")] == ["details.json.zst.age"]
