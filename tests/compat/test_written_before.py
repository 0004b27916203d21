"""Backups, indexes and interrupted restores written by earlier code work with the code of today.

``written_before/README.md`` says which code wrote them. These tests go through ``manage.py`` alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from demo.server import PostgresServer

from tests.compat import fixture
from tests.compat.fixture import ENCRYPTED, PLAIN, SQLITE, differences, expected, open_project
from tests.services.project import Project, drop

EXPECTED = expected()
FIRST, SECOND, IN_PLAIN = (EXPECTED["ids"][name] for name in ("first", "second", "plain"))
CONTENTS = EXPECTED["contents"]


def run(project: Project, *argv: str | Path, status: int = 0) -> Any:
    """Run a command with ``--json`` and return what it printed; fail unless it ends with that status."""
    done = project.run(*argv, "--json")
    assert done.returncode == status and "Traceback" not in done.stderr, (argv, done.stdout, done.stderr)
    return json.loads(done.stdout)


def restore(project: Project, *argv: str) -> Any:
    """Run ``restore_all`` so that it asks no question, without migrations, which another test runs."""
    named = [
        "--noinput",
        "--no-migrate",
        "--database-name",
        project.database,
        "--identity",
        str(project.identity),
    ]
    return run(project, "restore_all", *argv, *named)


def leftovers(project: Project) -> list[str]:
    """Return what restores build or keep beside what is live."""
    found = [name for name in project.databases() if name != project.database]
    for folder in (project.folder, project.sites, project.uploads, project.scratch):
        found += [str(path) for path in folder.glob(".*")]
    journals = project.state / fixture.RESTORES
    return found + ([str(path) for path in journals.iterdir()] if journals.exists() else [])


@pytest.fixture
def encrypted(pg: PostgresServer, tmp_path: Path) -> Iterator[Project]:
    """A project with the encrypted storage; nothing is live yet."""
    project = open_project(pg, tmp_path, ENCRYPTED)
    yield project
    drop(project)


@pytest.fixture
def plain(pg: PostgresServer, tmp_path: Path) -> Iterator[Project]:
    """A project with the storage that is not encrypted; nothing is live yet."""
    project = open_project(pg, tmp_path, PLAIN)
    yield project
    drop(project)


@pytest.mark.postgres(15, 18)
def test_old_encrypted_backups_are_restored_as_they_were(encrypted: Project) -> None:
    restore(encrypted, FIRST)
    assert differences(encrypted, CONTENTS["first"]) == []
    restore(encrypted)  # by default the newest
    assert differences(encrypted, CONTENTS["second"]) == []
    sparse = (encrypted.uploads / "sparse").stat()
    assert sparse.st_blocks * 512 < sparse.st_size
    run(encrypted, "undo_restore")
    assert differences(encrypted, CONTENTS["first"]) == []
    run(encrypted, "undo_restore", "--discard", "--noinput")
    assert leftovers(encrypted) == []


@pytest.mark.slow
def test_old_encrypted_backups_get_other_recipients(encrypted: Project, tmp_path: Path) -> None:
    new = tmp_path / "new.key"
    made = run(encrypted, "generate_backup_key", new, "--no-signing-key")
    encrypted.environment["IGNY8_BACKUP_RECIPIENTS"] = made["recipient"]
    rotate: list[str | Path] = ["rotate_recipients", "--identity", encrypted.identity]
    assert set(run(encrypted, *rotate, "--noinput")["rotated"]) == {FIRST, SECOND}
    refused = encrypted.run("restore_all", "--noinput", "--identity", encrypted.identity)
    assert refused.returncode == 1 and "is not encrypted to this identity" in refused.stderr
    shutil.copy(new, encrypted.identity)
    restore(encrypted, FIRST)
    assert differences(encrypted, CONTENTS["first"]) == []


def test_old_plain_backup_is_restored_without_a_key(plain: Project) -> None:
    run(plain, "restore_all", IN_PLAIN, "--noinput", "--database-name", plain.database)
    assert differences(plain, CONTENTS["second"]) == []


def test_old_backup_of_sqlite_is_restored(postgres_18: PostgresServer, tmp_path: Path) -> None:
    project = open_project(postgres_18, tmp_path, SQLITE)
    path = str(project.folder / "db")
    run(project, "restore_all", "--only", "db", "--noinput", "--database-name", path)
    with closing(sqlite3.connect(path)) as session:
        assert session.execute("SELECT * FROM kept ORDER BY id").fetchall() == [(1, "one"), (2, "two")]


@pytest.mark.parametrize(("storage", "name"), [(ENCRYPTED, "second"), (PLAIN, "plain")])
def test_incremental_backup_compares_with_the_old_index(
    pg: PostgresServer, tmp_path: Path, storage: str, name: str
) -> None:
    newest = EXPECTED["ids"][name]
    project = open_project(pg, tmp_path, storage)
    fixture.fill_database(project, project.database, live=False)
    fixture.unpack_trees(fixture.FOLDER / "trees.tar.gz", project.folder)
    # This file has other contents, and all else that the index records of it: only who reads it can know.
    unread = project.sites / "charlie.example/index.html"
    about, size = unread.stat(), len(unread.read_bytes())
    unread.write_bytes(b"x" * size)
    os.utime(unread, ns=(about.st_atime_ns, about.st_mtime_ns))
    fixture.adopt_trees(project, newest)
    (project.sites / "delta.example/index.html").write_text("changed by the test\n")
    try:
        made = run(project, "backup_all")["manifest"]
        shown = run(project, "show_backup", newest)["manifest"]
        for before, after in zip(shown["trees"], made["trees"], strict=True):
            assert after["full"] is False
            own = [pack["key"] for pack in after["packs"] if made["id"] in pack["key"]]
            assert len(own) == (after["name"] == "sites-data")
            assert [pack for pack in after["packs"] if pack["key"] not in own] == before["packs"]
        run(project, "verify_backup", "--depth", "content", "--identity", project.identity)
        restore(project)
        wanted = json.loads(json.dumps(CONTENTS["second"]))
        changed = project.sites / "delta.example/index.html"
        assert changed.read_text() == "changed by the test\n"
        del wanted["sites-data"]["delta.example/index.html"]
        found = differences(project, wanted)
        assert len(found) == 1 and found[0].startswith("sites-data: delta.example/index.html was not there")
    finally:
        drop(project)


def test_old_backups_are_listed_shown_and_pruned_as_recorded(encrypted: Project) -> None:
    listed = {entry["id"]: entry for entry in run(encrypted, "list_backups")}
    assert listed.keys() == {FIRST, SECOND}
    assert not any(entry["problem"] for entry in listed.values())
    assert listed[FIRST]["pin"]["reason"] == "the first of all"
    assert listed[FIRST]["manifest"]["label"] == "first"
    assert [check["depth"] for check in listed[FIRST]["checks"]] == ["stored"]
    assert [check["depth"] for check in listed[SECOND]["checks"]] == ["content"]
    assert listed[SECOND]["checks"][0]["damage"] == []
    assert run(encrypted, "list_backups", "--litter")["litter"] == []

    shown = run(encrypted, "show_backup", SECOND, "--identity", encrypted.identity)
    (database,) = shown["details"]["databases"]
    assert "public.content_tag" in database["tables"]
    assert (
        database["row_counts"]["public.content_tag"]
        == CONTENTS["second"]["database"]["table public.content_tag"][0]
    )
    files = encrypted.run(
        "show_backup", FIRST, "--files", "--json", "--identity", encrypted.identity, check=True
    )
    lines = [json.loads(line) for line in files.stdout.splitlines()]
    for tree in ("sites-data", "uploads"):
        times = sorted(line["mtime_ns"] for line in lines if line["tree"] == tree)
        assert times == sorted(item[2] for name, item in CONTENTS["first"][tree].items() if name != ".")

    done = encrypted.run("prune_backups", "--dry-run", "--json")
    # The backups do not get younger: when the newest is two days old, none may be removed.
    assert done.returncode in (0, 3) and "Traceback" not in done.stderr, done.stderr
    planned = json.loads(done.stdout)
    assert bool(planned["plan"]["blocked"]) == (done.returncode == 3)
    verdicts = {item["id"]: item for item in planned["plan"]["verdicts"]}
    assert verdicts.keys() == {FIRST, SECOND}
    assert verdicts[FIRST]["keep"] and any("pin" in reason for reason in verdicts[FIRST]["reasons"])
    assert planned["swept"] == []


def test_list_of_files_needs_no_key_while_the_old_index_is_in_state_dir(encrypted: Project) -> None:
    done = encrypted.run("show_backup", SECOND, "--files", "--json", check=True)
    names = {json.loads(line)["path"] for line in done.stdout.splitlines()}
    assert "alpha.example/odd/caf%E9 in latin-1" in names


def test_old_backups_are_verified_and_old_run_records_tell_of_lost_ones(encrypted: Project) -> None:
    found = run(encrypted, "verify_backup", "--all", "--depth", "content", "--identity", encrypted.identity)
    assert [result["check"]["id"] for result in found["results"]] == [FIRST, SECOND]
    assert not any(result["findings"] for result in found["results"])
    (manifest,) = encrypted.storage.rglob(f"{SECOND}/manifest.json")
    manifest.unlink()
    lost = encrypted.run("verify_backup", "--all", "--json")
    assert lost.returncode and f"{SECOND}/manifest.json" in lost.stderr


@pytest.mark.parametrize("moment", ["between", "amid", "half_renamed", "not_kept"])
def test_old_restore_killed_in_its_swap_is_completed_and_undone(encrypted: Project, moment: str) -> None:
    fixture.interrupt(encrypted, moment)
    listed = encrypted.run("list_backups", check=True)
    (line,) = (line for line in listed.stdout.splitlines() if line.startswith("UNFINISHED"))
    assert SECOND in line
    done = restore(encrypted)
    assert done["resumed"] is True
    assert differences(encrypted, CONTENTS["second"]) == []
    run(encrypted, "undo_restore")
    assert differences(encrypted, CONTENTS["live"]) == []
    assert comment(encrypted) == "the application's"
    run(encrypted, "undo_restore", "--discard", "--noinput")
    assert differences(encrypted, CONTENTS["live"]) == []
    assert leftovers(encrypted) == []


@pytest.mark.parametrize("moment", ["amid", "undoing"])
def test_old_restore_killed_in_its_swap_is_undone_at_once(encrypted: Project, moment: str) -> None:
    fixture.interrupt(encrypted, moment)
    run(encrypted, "undo_restore")
    assert differences(encrypted, CONTENTS["live"]) == []
    assert comment(encrypted) == "the application's"
    run(encrypted, "undo_restore", "--discard", "--noinput")
    assert leftovers(encrypted) == []


def test_old_undo_killed_in_its_swap_is_completed_by_the_next_restore(encrypted: Project) -> None:
    fixture.interrupt(encrypted, "undoing")
    done = restore(encrypted)
    assert done["resumed"] is True
    assert differences(encrypted, CONTENTS["live"]) == []


def test_old_restore_killed_before_its_swap_is_removed_and_another_one_made(encrypted: Project) -> None:
    fixture.interrupt(encrypted, "preparing")
    side = set(leftovers(encrypted))
    done = restore(encrypted)
    assert done["resumed"] is False
    assert differences(encrypted, CONTENTS["second"]) == []
    assert side.isdisjoint(leftovers(encrypted))
    run(encrypted, "undo_restore")
    assert differences(encrypted, CONTENTS["live"]) == []


def test_old_restore_killed_before_its_swap_is_removed_by_undo(encrypted: Project) -> None:
    fixture.interrupt(encrypted, "preparing")
    run(encrypted, "undo_restore")
    assert differences(encrypted, CONTENTS["live"]) == []
    assert leftovers(encrypted) == []


def test_old_restore_that_ended_is_undone_and_discarded(encrypted: Project) -> None:
    fixture.interrupt(encrypted, "done")
    assert differences(encrypted, CONTENTS["second"]) == []
    run(encrypted, "undo_restore")
    assert differences(encrypted, CONTENTS["live"]) == []
    run(encrypted, "undo_restore", "--discard", "--noinput")
    assert leftovers(encrypted) == []


@pytest.mark.parametrize(("moment", "live"), [("done", "second"), ("undone", "live")])
def test_what_an_old_restore_keeps_is_discarded(encrypted: Project, moment: str, live: str) -> None:
    fixture.interrupt(encrypted, moment)
    assert leftovers(encrypted) != []
    run(encrypted, "undo_restore", "--discard", "--noinput")
    assert differences(encrypted, CONTENTS[live]) == []
    assert leftovers(encrypted) == []


def comment(project: Project) -> str:
    """Return the comment on the live database."""
    query = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
    ((found,),) = project.sql(query, project.database)
    return str(found)


def test_fixture_holds_nothing_of_the_machine_that_wrote_it() -> None:
    """Paths, ports and inodes of the journals are placeholders, which the tests replace by their own."""
    for journal in fixture.FOLDER.glob(f"interrupted/*/{fixture.RESTORES}/*"):
        text = journal.read_text()
        assert "@ROOT@" in text and "/tmp" not in text
        children = re.findall(r'\[\\"[^"\\]+\\", (\S+), (\S+)\]', text)
        assert all(value.startswith(("@INODE:", "null")) for child in children for value in child)
