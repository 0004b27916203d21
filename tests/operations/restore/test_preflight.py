"""What a plan sees before anything is made, and journals that are not of the database at hand."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta

from igny8_backup.formats import keys
from igny8_backup.operations.secret_key import fingerprint
from tests.management.commands import Command, run_many
from tests.services.project import Project


def test_plans_see_what_is_gone_and_what_is_not_installed(project: Project) -> None:
    project.seed_small()
    project.sql("INSERT INTO django_migrations (app, name, applied) VALUES ('gone', '0007_x', now())")
    partly = {"SITES": {"sites-data": str(project.folder / "away"), "uploads": str(project.uploads)}}
    made, some = run_many(project, ["backup_all", "--json"], Command(["backup_all", "--json"], partly))
    look = ["restore_all", made.ended(0).json["manifest"]["id"], "--dry-run", "--identity", project.identity]
    newer = some.ended(3).json["manifest"]["id"]

    # An object that is gone, or of another size, is seen before anything is made.
    pack = made.json["manifest"]["trees"][0]["packs"][0]["key"]
    shorter, lacking = project.folder / "shorter", project.folder / "lacking"
    for storage in (shorter, lacking):
        shutil.copytree(project.storage, storage)
    size = (project.storage / "igny8" / pack).stat().st_size
    os.truncate(shorter / "igny8" / pack, size - 1)
    (lacking / "igny8" / pack).unlink()
    whole, cut, missing, part = run_many(
        project,
        look,
        Command(look, storage=shorter),
        Command(look, storage=lacking),
        ["restore_all", newer, *look[2:]],
    )
    # Rows that a removed app left behind are a note; every project has such.
    assert "NOTE: Apps of the backup that are not installed here: gone." in whole.ended(0).stdout
    assert f"{pack} has {size - 1} bytes" in cut.ended(6).stderr
    assert f"{pack} is missing in" in missing.ended(1).stderr
    # A part that the backup asked for has not is named, and left as it is.
    assert f"Backup {newer} has no complete copy of 'sites-data'" in part.ended(0).stdout


def test_two_aliases_of_one_database_are_told_apart_before_anything_is_made(project: Project) -> None:
    project.settings('DATABASES["direct"] = dict(DATABASES["default"])')
    look = ["restore_all", "--dry-run", "--identity", str(project.identity), "--only"]
    made, refused, one = run_many(project, ["backup_db"], [*look, "db"], [*look, "default"])
    made.ended(0)
    assert "lead to the same database" in refused.ended(4).stderr
    one.ended(0)


def test_a_secret_key_may_be_bytes() -> None:
    backup_id = "20261122T021500Z-7f3a9c"
    assert fingerprint(b"key", backup_id) == fingerprint("key", backup_id) != fingerprint("kay", backup_id)


def test_a_stamp_can_be_read_back() -> None:
    moment = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)
    assert keys.stamp_time(keys.stamp(moment)) == moment
    assert keys.stamp(moment + timedelta(seconds=1)) > keys.stamp(moment)


def test_a_state_folder_that_is_full_costs_the_tree_and_not_the_database(project: Project) -> None:
    project.seed_small()
    # A folder in the place of the index's own makes every write of it fail, as a full disk does.
    (project.state / "indexes").touch()
    (done,) = run_many(project, ["backup_all", "--json"])
    states = {part["name"]: part["error"] for part in done.ended(3).json["manifest"]["trees"]}
    assert states == {"sites-data": "FilesError", "uploads": "FilesError"}
