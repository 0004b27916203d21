"""Problems that the plan finds before anything is created."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta

from igny8_backup.formats import keys
from igny8_backup.operations.installation.secret_key import fingerprint
from tests.management.commands import Command, run_many
from tests.services.project import Project


def test_plan_names_missing_objects_and_missing_apps(project: Project) -> None:
    project.seed_small()
    project.sql("INSERT INTO django_migrations (app, name, applied) VALUES ('gone', '0007_x', now())")
    partly = {"SITES": {"sites-data": str(project.folder / "away"), "uploads": str(project.uploads)}}
    made, some = run_many(project, ["backup_all", "--json"], Command(["backup_all", "--json"], partly))
    older = made.ended(0).json["manifest"]["id"]
    dry_run = ["restore_all", older, "--dry-run", "--identity", project.identity]
    newer = some.ended(3).json["manifest"]["id"]

    # A missing object, or one of another size, is found before anything is created.
    pack = made.json["manifest"]["trees"][0]["packs"][0]["key"]
    shorter, lacking = project.folder / "shorter", project.folder / "lacking"
    for storage in (shorter, lacking):
        shutil.copytree(project.storage, storage)
    size = (project.storage / "igny8" / pack).stat().st_size
    os.truncate(shorter / "igny8" / pack, size - 1)
    (lacking / "igny8" / pack).unlink()
    complete, cut, missing, part = run_many(
        project,
        dry_run,
        Command(dry_run, storage=shorter),
        Command(dry_run, storage=lacking),
        ["restore_all", newer, *dry_run[2:]],
    )
    # Migration rows of a removed app are only a note; every project has some.
    assert (
        "NOTE: The backup contains migrations of apps that are not installed here: gone."
        in complete.ended(0).stdout
    )
    assert f"{pack} has {size - 1} bytes" in cut.ended(6).stderr
    assert f"{pack} is missing in" in missing.ended(1).stderr
    # A part that the chosen backup lacks is named, and not restored.
    assert f"Backup {newer} has no complete copy of 'sites-data'" in part.ended(0).stdout


def test_plan_of_two_aliases_of_one_database_is_refused(project: Project) -> None:
    project.settings('DATABASES["direct"] = dict(DATABASES["default"])')
    dry_run = ["restore_all", "--dry-run", "--identity", str(project.identity), "--only"]
    made, refused, one = run_many(project, ["backup_db"], [*dry_run, "db"], [*dry_run, "default"])
    made.ended(0)
    assert "are the same database" in refused.ended(4).stderr
    one.ended(0)


def test_fingerprint_accepts_secret_key_as_bytes() -> None:
    backup_id = "20261122T021500Z-7f3a9c"
    assert fingerprint(b"key", backup_id) == fingerprint("key", backup_id) != fingerprint("kay", backup_id)


def test_stamp_round_trips() -> None:
    moment = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)
    assert keys.stamp_time(keys.stamp(moment)) == moment
    assert keys.stamp(moment + timedelta(seconds=1)) > keys.stamp(moment)


def test_backup_with_full_state_folder_loses_the_tree_but_not_the_database(project: Project) -> None:
    project.seed_small()
    # A file in place of the folder makes every write of an index fail, as a full disk does.
    (project.state / "indexes").touch()
    (done,) = run_many(project, ["backup_all", "--json"])
    states = {part["name"]: part["error"] for part in done.ended(3).json["manifest"]["trees"]}
    assert states == {"sites-data": "FilesError", "uploads": "FilesError"}
