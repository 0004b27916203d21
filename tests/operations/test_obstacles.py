"""What a plan sees before anything is made, and journals that are not of the database at hand."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from igny8_backup import keys
from igny8_backup.operations.fingerprint import fingerprint
from tests.services.project import Project


def test_plans_and_journals_know_what_they_are_of(project: Project) -> None:
    """One backup, many questions: a whole project takes seconds to make."""
    project.seed_small()
    project.sql("INSERT INTO django_migrations (app, name, applied) VALUES ('gone', '0007_x', now())")
    made = json.loads(project.run("backup_all", "--json", check=True).stdout)
    look = ["restore_all", "--dry-run", "--identity", project.identity]

    # Rows that a removed app left behind are a note; every project has such.
    shown = project.run(*look, check=True).stdout
    assert "NOTE: Apps of the backup that are not installed here: gone." in shown

    # An object that is gone, or of another size, is seen before anything is made.
    pack = made["manifest"]["trees"][0]["packs"][0]["key"]
    path = project.storage / "igny8" / pack
    kept = path.read_bytes()
    path.write_bytes(kept[:-1])
    shorter = project.run(*look)
    assert shorter.returncode == 6 and f"{pack} has {len(kept) - 1} bytes" in shorter.stderr
    path.unlink()
    missing = project.run(*look)
    assert missing.returncode == 1 and f"{pack} is missing in" in missing.stderr
    path.write_bytes(kept)

    # An undo with settings that lead to another database is refused: it would rename that one.
    restore = ["restore_all", "--only", "db", "--noinput", "--database-name", project.database]
    project.run(*restore, "--identity", project.identity, check=True)
    other = f"{project.database}_other"
    project.server.create_database(other)
    before = sorted(project.databases())
    url = {"DATABASE_URL": project.server.url(other)}
    for command in (["undo_restore"], ["undo_restore", "--discard", "--noinput"]):
        refused = project.run(*command, env=url)
        assert refused.returncode == 4 and "leads to" in refused.stderr, refused.stderr
        assert sorted(project.databases()) == before
    project.run("undo_restore", check=True)
    project.run("undo_restore", "--discard", "--noinput", check=True)
    assert sorted(project.databases()) == sorted([project.database, other])

    # A part that the backup asked for has not is named, and left as it is.
    moved = project.sites.rename(project.folder / "away")
    partly = json.loads(project.run("backup_all", "--json").stdout)["manifest"]["id"]
    moved.rename(project.sites)
    shown = project.run(*look, partly, check=True).stdout
    assert f"Backup {partly} has no complete copy of 'sites-data'" in shown


def test_two_aliases_of_one_database_are_told_apart_before_anything_is_made(project: Project) -> None:
    project.settings('DATABASES["direct"] = dict(DATABASES["default"])')
    project.run("backup_db", check=True)
    refused = project.run("restore_all", "--only", "db", "--dry-run", "--identity", project.identity)
    assert refused.returncode == 4 and "lead to one database" in refused.stderr
    project.run("restore_all", "--only", "default", "--dry-run", "--identity", project.identity, check=True)


def test_a_label_that_cannot_be_printed_is_refused(project: Project) -> None:
    refused = project.run("backup_db", "--label", "a\nb")
    assert refused.returncode == 2 and "Traceback" not in refused.stderr


def test_a_secret_key_may_be_bytes() -> None:
    backup_id = "20261122T021500Z-7f3a9c"
    assert fingerprint(b"key", backup_id) == fingerprint("key", backup_id) != fingerprint("kay", backup_id)


def test_a_stamp_can_be_read_back() -> None:
    moment = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)
    assert keys.stamp_time(keys.stamp(moment)) == moment
    assert keys.stamp(moment + timedelta(seconds=1)) > keys.stamp(moment)


def test_a_state_folder_that_is_full_costs_the_tree_and_not_the_database(
    project: Project, tmp_path: Path
) -> None:
    project.seed_small()
    # A folder in the place of the index's own makes every write of it fail, as a full disk does.
    (project.state / "indexes").touch()
    done = project.run("backup_all", "--json")
    assert done.returncode == 3 and "Traceback" not in done.stderr
    states = {part["name"]: part["error"] for part in json.loads(done.stdout)["manifest"]["trees"]}
    assert states == {"sites-data": "FilesError", "uploads": "FilesError"}
