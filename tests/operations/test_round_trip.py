"""Applications that are backed up, destroyed and restored, by the commands alone."""

from __future__ import annotations

import shutil

import psycopg
import pytest

from tests.management.commands import Done, run_many, run_one
from tests.management.state import differences, leftovers, modes, objects, of_project
from tests.operations.conftest import Saved
from tests.services.project import Project


def destroy(project: Project) -> None:
    """Delete the database and all files."""
    project.server.drop_database(project.database)
    for root in (project.sites, project.uploads, project.logs):
        for child in root.iterdir():
            shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()


@pytest.mark.postgres(15)
def test_restore_all_empty_server_restores_the_application(project: Project) -> None:
    project.seed_small()
    before = of_project(project)
    made = run_one(project, "backup_all", "--logs", "--label", "before the storm").ended(0)
    listed, shown, private = run_many(
        project,
        ["list_backups", "--json"],
        ["list_backups"],
        ["show_backup", "--identity", project.identity, _id_of(made)],
    )
    (entry,) = listed.ended(0).json
    assert entry["id"] == _id_of(made) and entry["problem"] == ""
    assert entry["manifest"]["label"] == "before the storm"
    assert [part["state"] for part in entry["manifest"]["databases"] + entry["manifest"]["trees"]] == [
        "complete"
    ] * 4
    assert "default, sites-data, uploads, logs" in shown.stdout and "before the storm" in shown.stdout
    assert "owner igny8" in private.stdout

    destroy(project)
    assert project.databases() == []
    done = run_one(project, "restore_all", "--noinput", "--identity", project.identity).ended(0)
    assert f"database {project.database}: created" in done.stdout
    assert not list(project.logs.iterdir()), "logs come back by name only"
    (logs,) = run_many(
        project, ["restore_all", "--noinput", "--only", "logs", "--identity", project.identity]
    )
    logs.ended(0)
    assert differences(before, of_project(project)) == []
    assert modes(project.state) | modes(project.storage / "igny8") == {"file 600", "folder 700"}
    assert list(project.scratch.iterdir()) == []


def _id_of(made: Done) -> str:
    (line,) = [line for line in made.stdout.splitlines() if line.startswith("Backup ")]
    return line.split()[1]


def test_restore_all_live_database_is_replaced_and_undone(saved: Saved) -> None:
    project = saved.project
    # Rows and files are added, changed and deleted; and somebody is connected.
    project.sql("DELETE FROM automation_run")
    project.sql("CREATE TABLE made_later (id int)")
    (project.uploads / "later").write_text("written after the backup")
    shutil.rmtree(next(path for path in project.sites.iterdir() if path.is_dir()))
    project.sites.chmod(0o750)
    later = of_project(project)
    look_before_restoring(saved)
    assert differences(later, of_project(project)) == []
    with project.server.connect(project.database) as session:
        assert session.execute("SELECT 1").fetchone()
        done = run_one(project, *saved.restore).ended(0)
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert f"{project.database}__before_" in done.stdout
    saved.assert_restored()
    assert len(project.databases()) == 2

    listed, undone, listed_again, redone, again, discarded, nothing = run_many(
        project,
        ["list_backups"],
        ["undo_restore"],
        ["list_backups"],
        ["undo_restore"],
        ["undo_restore"],
        ["undo_restore", "--discard", "--noinput"],
        ["undo_restore", "--discard", "--noinput"],
    )
    assert "is kept. To swap it back: python manage.py undo_restore" in listed.ended(0).stdout
    assert "The data from before the restore is live again." in undone.ended(0).stdout
    assert "REDO the restore" in redone.ended(0).stdout
    assert f"The data restored from {saved.id} is live again." in redone.stdout
    assert "The data from before the restore is live again." in again.ended(0).stdout
    assert "was undone" in listed_again.ended(0).stdout
    assert "data that 1 restore had kept" in discarded.ended(0).stdout
    assert "No data of earlier restores" in nothing.ended(2).stderr
    assert differences(later, of_project(project)) == []


def look_before_restoring(saved: Saved) -> None:
    """The plan is shown and nothing is written."""
    project = saved.project
    stored = [(path, path.stat().st_mtime_ns) for path in objects(project)]
    plain, as_json, unnamed, wrong = run_many(
        project,
        ["restore_all", "--dry-run", "--identity", project.identity],
        ["restore_all", "--dry-run", "--json", "--identity", project.identity],
        ["restore_all", "--noinput", "--identity", project.identity],
        ["restore_all", "--noinput", "--identity", project.identity, "--database-name", "another"],
    )
    assert f"/{project.database}, which holds" in plain.ended(0).stdout
    assert "Dry run: nothing was changed." in plain.stdout
    plan = as_json.ended(0).json
    assert [item["part"]["alias"] for item in plan["databases"]] == ["default"]
    assert [item["root"] for item in plan["trees"]] == [str(project.sites), str(project.uploads)]
    assert plan["obstacles"] == []
    for refused in (unnamed, wrong):
        assert f"--database-name {project.database}" in refused.ended(2).stderr
    assert leftovers(project) == []
    assert stored == [(path, path.stat().st_mtime_ns) for path in objects(project)]


def test_restore_all_only_restores_single_parts(saved: Saved) -> None:
    project = saved.project
    destroy(project)
    project.server.create_database(project.database)
    options = ["--noinput", "--identity", str(project.identity), "--only"]
    uploads, logs, files, database = run_many(
        project,
        ["restore_all", *options, "uploads"],
        ["restore_all", *options, "logs"],
        ["restore_all", saved.id, *options, "files"],
        ["restore_all", *options, "default"],
    )
    assert "uploads" in uploads.ended(0).stdout and "sites-data" not in uploads.stdout
    assert "logs" in logs.ended(0).stdout
    assert "sites-data" in files.ended(0).stdout and project.database not in files.stdout
    assert project.database in database.ended(0).stdout and "sites-data" not in database.stdout
    # With settings for another database, an undo would rename that one.
    other = f"{project.database}_other"
    project.server.create_database(other)
    before = project.databases()
    for refused in run_many(
        project,
        ["undo_restore"],
        ["undo_restore", "--discard", "--noinput"],
        env={"DATABASE_URL": project.server.url(other)},
    ):
        assert "is now" in refused.ended(4).stderr
        assert project.databases() == before
    project.server.drop_database(other)
    # After the previous database was dropped by hand, an undo is impossible and the live one stays.
    (kept,) = [name for name in project.databases() if name != project.database]
    project.server.drop_database(kept)
    undone, discarded = run_many(project, ["undo_restore"], ["undo_restore", "--discard", "--noinput"])
    assert f"there is no database {kept}" in undone.ended(2).stderr
    assert "data that 4 restores had kept" in discarded.ended(0).stdout
    saved.assert_restored()
