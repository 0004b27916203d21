"""A database that lost most of its contents is stored, named, and is not relied on until accepted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.management.commands import Command, run_many
from tests.services.project import TEMPLATE, Project


@pytest.fixture
def other(project: Project) -> Iterator[str]:
    """A second database, migrated and empty, as a wrong DATABASE_URL would lead to; its URL."""
    name = f"{project.database}_other"
    project.server.create_database(name, template=TEMPLATE)
    yield project.server.url(name)
    project.server.drop_database(name)


def test_backup_of_a_database_that_was_only_migrated_is_suspect(project: Project, other: str) -> None:
    project.seed_small()
    options = ["--noinput", "--database-name", project.database, "--identity", str(project.identity)]
    (good,) = run_many(project, ["backup_db", "--json"])
    first = good.ended(0).json["manifest"]
    assert first["databases"][0]["rows"] > 1000
    made, listed = run_many(project, ["backup_db"], ["list_backups", "--json"], env={"DATABASE_URL": other})
    assert "default SUSPECT: it has " in made.ended(3).stderr
    assert f"while backup {first['id']} had {first['databases'][0]['rows']} rows and " in made.stderr
    assert "The most rows are missing in public." in made.stderr
    suspect, sound = listed.ended(0).json
    (standing,) = suspect["standings"]
    assert standing["unfit"][0]["kind"] == "suspect" and standing["baseline"] == sound["id"] == first["id"]
    assert suspect["manifest"]["databases"][0]["rows"] < 100
    last_one = {"RETENTION": {"last": 1}}
    pruned, as_json, planned, drilled, watched = run_many(
        project,
        Command(["prune_backups"], last_one),
        Command(["prune_backups", "--dry-run", "--json"], last_one),
        ["restore_all", "--dry-run", "--only", "db", "--identity", str(project.identity)],
        ["drill_backup", "--json", "--identity", str(project.identity)],
        ["monitor_backups"],
    )
    assert "(accept_backup accepts it)" in pruned.ended(0).stdout
    assert "0 backups removed" in pruned.stdout
    newest, oldest = as_json.ended(0).json["plan"]["verdicts"]
    assert newest["copies"][0]["unfit"].startswith("suspect: it has ")
    assert (oldest["copies"][0]["reasons"][0], oldest["copies"][0]["unfit"]) == ("newest good copy", "")
    assert f"Backup {suspect['id']} is not used for 'default'" in planned.ended(0).stdout
    assert f"database default: from {first['id']}" in planned.stdout
    assert drilled.ended(0).json["check"]["id"] == first["id"]
    assert "FAILED  size, database default of web-1" in watched.ended(7).stdout

    # Restored by its id after all: the next backup knows what to expect. So it does after the undo.
    restored, after, undone, again = run_many(
        project,
        ["restore_all", suspect["id"], "--only", "db", *options],
        ["backup_db", "--json"],
        ["undo_restore"],
        ["backup_db", "--json"],
    )
    assert f"WARNING: the copy of 'default' in backup {suspect['id']} is suspect" in restored.ended(0).stdout
    assert after.ended(0).json["manifest"]["databases"][0]["expected"]["by"] == "restore"
    undone.ended(0)
    assert again.ended(0).json["manifest"]["databases"][0]["expected"]["by"] == "undo"
    assert again.json["manifest"]["databases"][0]["rows"] == first["databases"][0]["rows"]

    accepted, shown, removed = run_many(
        project,
        ["accept_backup", suspect["id"], "--part", "default", "--reason", "a new beginning"],
        ["show_backup", suspect["id"]],
        ["undo_restore", "--discard", "--noinput"],
    )
    assert "is accepted" in accepted.ended(0).stdout
    assert "copy of default accepted" in shown.ended(0).stdout and "a new beginning" in shown.stdout
    assert "SUSPECT" not in shown.stdout
    removed.ended(0)


def test_safety_copy_of_a_restore_in_place_outlives_retention(project: Project) -> None:
    project.seed_small()
    options = ["--noinput", "--database-name", project.database, "--identity", str(project.identity)]
    (good,) = run_many(project, ["backup_db", "--json"])
    first = good.ended(0).json["manifest"]["id"]
    project.sql("TRUNCATE content_article CASCADE")
    in_place = ["restore_all", first, "--in-place", "--only", "db", *options, "--json"]
    replaced, later, latest, pruned, listed = run_many(
        project,
        in_place,
        ["backup_db", "--json"],
        ["backup_db", "--json"],
        Command(["prune_backups", "--json"], {"RETENTION": {"last": 1}}),
        ["list_backups"],
    )
    saved = replaced.ended(0).json["saved"]
    assert later.ended(0).json["manifest"]["databases"][0]["expected"]["backup_id"] == first
    assert set(pruned.ended(0).json["removed"]) == {first, later.json["manifest"]["id"]}
    assert saved in listed.ended(0).stdout and "SAFETY: default" in " ".join(listed.stdout.split())
    back, unpinned, gone = run_many(
        project,
        ["restore_all", saved, "--in-place", "--only", "db", *options],
        ["pin_backup", saved, "--unpin"],
        Command(["prune_backups", "--json"], {"RETENTION": {"last": 1}}),
    )
    assert f"WARNING: the copy of 'default' in backup {saved} is safety" in back.ended(0).stdout
    assert project.sql("SELECT count(*) FROM content_article") == [(0,)]
    unpinned.ended(0)
    assert gone.ended(0).json["removed"] == [saved]
    latest.ended(0)
