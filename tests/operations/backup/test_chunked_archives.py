"""Dumps in chunks that several connections make: each archive has an index, and all share the packs."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import pytest

from igny8_backup.chunks.cutter import compiled_version
from tests.management.commands import Command, Done, run_many
from tests.operations.backup.moving import rotate_and_copy
from tests.services.project import Project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.services,
    pytest.mark.skipif(not compiled_version(), reason="pyfastcdc is not installed"),
]

SETTINGS = {
    "CHUNKED_DUMPS": ["default"],
    "DUMP_JOBS": 3,
    "JOBS": 3,
}  # two connections: see the limit of memory
FILL = "INSERT INTO {} SELECT n, md5(n::text) || md5((n * 7)::text) FROM generate_series(%s::int, %s::int) n"
QUERY = "SELECT count(*), md5(string_agg(words, '' ORDER BY id)) FROM {}"


@pytest.fixture
def large(project: Project) -> Project:
    """A project whose database has two tables of some megabytes, of which ``chunky`` is the largest."""
    for table, rows in (("chunky", 30_000), ("other", 12_000)):
        project.sql(f"CREATE TABLE {table} (id int PRIMARY KEY, words text)")
        project.sql(FILL.format(table), 1, rows)
    return project


def backup(*options: str, **settings: Any) -> Command:
    return Command(["backup_db", "--json", *options], {**SETTINGS, **settings})


def dump_of(done: Done) -> Any:
    (part,) = done.ended(0).json["manifest"]["databases"]
    return part


def id_of(done: Done) -> str:
    return str(done.ended(0).json["manifest"]["id"])


def contents(project: Project, database: str = "") -> list[Any]:
    return [project.sql(QUERY.format(table), database=database) for table in ("chunky", "other")]


def rows_in(project: Project, backup_id: str) -> list[set[str]]:
    """Return the large tables whose rows each archive of a backup has."""
    folder = project.folder / f"files-{backup_id}"
    folder.mkdir()
    file = folder / "found.dump"
    run_many(
        project,
        ["extract_backup", backup_id, "--only", "db", "--archive", file, "--identity", project.identity],
    )[0].ended(0)
    program = project.server.bin_dir / "pg_restore"
    found = []
    for path in sorted(folder.iterdir()):
        listing = subprocess.run([program, "--list", path], capture_output=True, check=True).stdout.decode()
        found.append({"chunky", "other"} & set(re.findall("TABLE DATA public (\\S+)", listing)))
    return found


def test_largest_table_moves_at_a_full_dump_and_every_backup_restores(large: Project) -> None:
    (full,) = run_many(large, backup())
    part = dump_of(full)
    names = [item["key"].rpartition("/")[2] for item in (part["object"], *part["data"])]
    assert names == [f"default.{name}.runs.zst.age" for name in ("main", "data-01", "data-02", "data-03")]
    assert full.json["manifest"]["schema"] == 4
    assert "2 connections dump the database at the same time" in full.stderr
    first = contents(large)
    large.sql("DELETE FROM chunky WHERE id % 7 = 0 AND id < 500")
    large.sql(FILL.format("other"), 12_001, 70_000)  # now the largest
    packs = set(large.storage.glob("igny8/packs/*/db.default/*"))
    (second,) = run_many(large, backup())
    kinds = [dump_of(done)["chunked"]["kind"] for done in (full, second)]
    assert kinds == ["full", "incremental"]
    assert len(dump_of(second)["data"]) == 3
    before = contents(large)
    (moved,) = run_many(large, backup("--full"))
    large.sql("UPDATE other SET words = 'changed' WHERE id = 20000")
    after = contents(large)
    (last,) = run_many(large, backup())
    assert dump_of(last)["chunked"]["kind"] == "incremental"
    made = [id_of(done) for done in (full, second, moved, last)]
    assert [rows_in(large, backup_id) for backup_id in made] == [
        [set(), {"chunky"}, {"other"}, set()],
        [set(), {"chunky"}, {"other"}, set()],
        [set(), {"other"}, {"chunky"}, set()],
        [set(), {"other"}, {"chunky"}, set()],
    ]
    assert packs < set(large.storage.glob("igny8/packs/*/db.default/*"))
    identity = ["--identity", str(large.identity)]
    copies = [f"{large.database}_{number}" for number in range(3)]
    extract = ["extract_backup", "--only", "db", *identity, "--to-database"]
    restore = ["restore_all", made[3], "--only", "db", "--noinput", "--database-name", large.database]
    done = run_many(
        large,
        *(
            Command([*extract, copy, backup_id], SETTINGS)
            for copy, backup_id in zip(copies, made, strict=False)
        ),
        ["verify_backup", made[1], "--depth", "content", *identity],
        ["verify_backup", "--older-packs", "--depth", "content", *identity],
        ["drill_backup", made[3], *identity],
        ["show_backup", made[1]],
    )
    for one in done:
        one.ended(0)
    assert [contents(large, copy) for copy in copies] == [first, before, before]
    large.sql("DELETE FROM other")
    run_many(large, Command([*restore, *identity], SETTINGS))[0].ended(0)
    assert contents(large) == after
    large.sql("DELETE FROM chunky")
    run_many(large, Command([*restore, "--in-place", *identity], SETTINGS))[0].ended(0)
    assert contents(large) == after


def test_damaged_pack_of_a_data_archive_costs_its_tables_only(large: Project) -> None:
    """The lost pack is one that the second dump has written. The third has the tables of contents again."""
    run_many(large, backup())
    first = set(large.storage.glob("igny8/packs/*/db.default/*"))
    large.sql("UPDATE chunky SET words = words || '.'")
    run_many(large, backup())
    second = set(large.storage.glob("igny8/packs/*/db.default/*")) - first
    large.sql("ALTER TABLE chunky RENAME words TO changed")
    (made,) = run_many(large, backup())
    found = max(second, key=lambda path: path.stat().st_size)
    content = bytearray(found.read_bytes())
    content[len(content) // 2] ^= 1
    found.write_bytes(content)
    backup_id, rest = id_of(made), f"{large.database}_rest"
    identity = ["--identity", str(large.identity)]
    extract = ["extract_backup", backup_id, "--only", "db", *identity, "--to-database"]
    verified, refused, rescued, again = run_many(
        large,
        ["verify_backup", backup_id, "--depth", "content", "--identity", large.identity],
        Command([*extract, f"{large.database}_whole"], SETTINGS),
        Command([*extract, rest, "--skip-damaged", "--json"], SETTINGS),
        backup(),
    )
    assert found.name in verified.ended(6).output
    assert found.name in refused.ended(6).stderr
    result = rescued.ended(3).json
    assert "public.chunky" in result["warnings"][0] and "public.other" not in result["warnings"][0]
    assert "TABLE DATA public chunky" in " ".join(result["left_out"])
    query = "SELECT (SELECT count(*) FROM other), (SELECT count(*) FROM chunky)"
    assert large.sql(query, database=rest) == [(12_000, 0)]
    assert dump_of(again)["chunked"]["kind"] == "incremental"
    (sound,) = run_many(
        large, ["verify_backup", id_of(again), "--depth", "content", "--identity", large.identity]
    )
    sound.ended(0)


def test_damaged_contents_of_a_data_archive_cost_its_tables_only(large: Project) -> None:
    large.sql("CREATE TABLE refers (id int REFERENCES chunky)")
    (made,) = run_many(large, backup())
    backup_id, rest = id_of(made), f"{large.database}_rest"
    (index,) = large.storage.glob(f"igny8/backups/{backup_id}/db/default.data-01.runs.zst.age")
    opened = subprocess.run(["age", "-d", "-i", large.identity, index], capture_output=True, check=True)
    lines = subprocess.run(["zstd", "-dc"], input=opened.stdout, capture_output=True, check=True).stdout
    name = json.loads(lines.splitlines()[0])["packs"][0]
    (found,) = large.storage.glob(f"igny8/packs/*/db.default/{name}.*")
    content = bytearray(found.read_bytes())
    content[len(content) // 2] ^= 1
    found.write_bytes(content)
    extract = ["extract_backup", backup_id, "--only", "db", "--identity", str(large.identity), "--json"]
    (rescued,) = run_many(large, Command([*extract, "--to-database", rest, "--skip-damaged"], SETTINGS))
    result = rescued.ended(3).json
    assert "the rows of public.chunky could not" in result["warnings"][0]
    assert "FK CONSTRAINT public refers refers_id_fkey" in " ".join(result["left_out"])
    assert " ".join(result["left_out"]).count("TABLE DATA public") == 1
    assert any(label.startswith("TABLE DATA public chunky ") for label in result["left_out"])
    query = "SELECT (SELECT count(*) FROM other), (SELECT count(*) FROM chunky)"
    assert large.sql(query, database=rest) == [(12_000, 0)]


def test_archives_in_chunks_are_rotated_copied_and_pruned_with_their_backup(large: Project) -> None:
    moved = rotate_and_copy(large, backup(), SETTINGS)
    folder = moved.offsite / "igny8/backups" / moved.id / "db"
    names = sorted(re.sub(r"\.r[0-9a-f]{6}\.", ".", path.name) for path in folder.iterdir())
    assert names == [f"default.{name}.runs.zst.age" for name in ("data-01", "data-02", "data-03", "main")]
    keep = {**moved.settings, "RETENTION": {"last": 1}}
    *later, pruned = run_many(
        large,
        *[Command(["backup_db", "--json"], moved.settings)] * 3,
        Command(["prune_backups", "--json"], keep),
    )
    full, second, third = map(id_of, later)
    assert set(pruned.ended(0).json["removed"]) == {full, second}, (
        "the rotated backup shares nothing with these"
    )
    checked = run_many(
        large,
        *(
            Command(
                ["verify_backup", backup_id, "--depth", "content", "--identity", moved.identity],
                moved.settings,
            )
            for backup_id in (moved.id, third)
        ),
    )
    for done in checked:
        done.ended(0)


def test_fewer_connections_need_no_full_dump(large: Project) -> None:
    full, one, two = run_many(large, backup(), backup(DUMP_JOBS=1), backup())
    assert [len(dump_of(done)["data"]) for done in (full, one, two)] == [3, 0, 3]
    assert [dump_of(done)["chunked"]["kind"] for done in (one, two)] == ["incremental", "incremental"]
