"""Dumps in chunks: only what changed is stored, and every backup restores as if it were a full one."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.chunks.cutter import compiled_version
from tests.management.commands import Command, Done, run_many
from tests.services.project import Project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.services,
    pytest.mark.skipif(not compiled_version(), reason="pyfastcdc is not installed"),
]

CHUNKED = {"CHUNKED_DUMPS": ["default"]}
FILL = (
    "INSERT INTO chunky SELECT n, md5(n::text) || md5((n * 7)::text) FROM generate_series(%s::int, %s::int) n"
)


@pytest.fixture
def large(project: Project) -> Project:
    """A project whose database has a table of some megabytes."""
    project.sql("CREATE TABLE chunky (id int PRIMARY KEY, words text)")
    project.sql(FILL, 1, 30_000)
    return project


def backup(*options: str, **settings: Any) -> Command:
    return Command(["backup_db", "--json", *options], {**CHUNKED, **settings})


def change(project: Project) -> None:
    project.sql("UPDATE chunky SET words = 'changed' WHERE id = 20000")
    project.sql(FILL, 30_001, 30_100)


def dump_of(done: Done) -> Any:
    (part,) = done.ended(0).json["manifest"]["databases"]
    return part


def packs(project: Project) -> dict[Path, int]:
    """Return the packs of chunks in storage, and their sizes."""
    return {path: path.stat().st_size for path in project.storage.glob("igny8/packs/*/db.default/*")}


def test_incremental_dump_stores_the_changes_and_restores(large: Project) -> None:
    (full,) = run_many(large, backup())
    first = packs(large)
    change(large)
    second, listed, shown = run_many(large, backup(), ["list_backups"], ["show_backup"])
    backup_id = second.json["manifest"]["id"]
    added = [size for path, size in packs(large).items() if path not in first]
    assert dump_of(full)["chunked"]["kind"] == "full" and full.json["manifest"]["schema"] == 3
    assert dump_of(second)["chunked"]["kind"] == "incremental"
    assert 0 < sum(added) < sum(first.values()) / 4
    assert "default (full)" in listed.ended(0).stdout and "default (incremental)" in listed.stdout
    large.sql("DROP TABLE chunky")
    identity = ["--identity", str(large.identity)]
    copy, file = f"{large.database}_copy", large.folder / "found.dump"
    verified, drilled, extracted, written, restored = run_many(
        large,
        ["verify_backup", backup_id, "--depth", "content", *identity],
        ["drill_backup", backup_id, *identity],
        ["extract_backup", backup_id, "--only", "db", "--to-database", copy, *identity],
        ["extract_backup", backup_id, "--only", "db", "--archive", file, *identity],
        ["restore_all", backup_id, "--only", "db", "--noinput", "--database-name", large.database, *identity],
    )
    for done in (verified, drilled, extracted, written, restored):
        done.ended(0)
    wanted = "SELECT count(*), sum((words = 'changed')::int) FROM chunky"
    assert large.sql(wanted) == large.sql(wanted, database=copy) == [(30_100, 1)]
    assert file.stat().st_size == dump_of(second)["chunked"]["bytes"]
    listing = subprocess.run([large.server.bin_dir / "pg_restore", "--list", file], capture_output=True)
    assert b"TABLE DATA public chunky" in listing.stdout


def test_damaged_pack_is_found_and_its_chunks_are_stored_again(large: Project) -> None:
    (full,) = run_many(large, backup())
    damaged = max(packs(large))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    verified, listed, made, again = run_many(
        large,
        ["verify_backup", full.json["manifest"]["id"], "--depth", "content", "--identity", large.identity],
        ["list_backups"],
        backup(),
        ["verify_backup", "--depth", "content", "--identity", large.identity],
    )
    assert damaged.name in verified.ended(6).output
    assert "damaged" in listed.ended(0).stdout.lower()
    assert dump_of(made)["chunked"]["kind"] == "full"
    assert f"{damaged.name} of the last full dump is missing or damaged" in made.stderr
    again.ended(0)


def test_extract_skips_the_tables_in_a_damaged_pack(large: Project) -> None:
    """The lost pack has little more than the rows of one table, which changed before the second dump."""
    large.sql("CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM chunky")
    run_many(large, backup())
    (first,) = packs(large)
    large.sql("UPDATE chunky SET words = words || '.'")
    run_many(large, backup())
    (lost,) = set(packs(large)) - {first}
    for name in ("aa_first", "mm_middle"):
        large.sql(f"CREATE TABLE {name} (id int PRIMARY KEY, words text)")
        large.sql(f"INSERT INTO {name} SELECT n, md5((n * 13)::text) FROM generate_series(1, 5000) n")
    (third,) = run_many(large, backup())
    lost.unlink()
    backup_id, rest, whole = third.json["manifest"]["id"], f"{large.database}_rest", f"{large.database}_all"
    extract = ["extract_backup", backup_id, "--only", "db", "--identity", large.identity, "--to-database"]
    refused, tables, made, whole_dump = run_many(
        large,
        [*extract, whole],
        [*extract, whole, "--table", "chunky", "--skip-damaged"],
        [*extract, rest, "--skip-damaged", "--json"],
        backup("--whole"),
    )
    assert lost.name in refused.ended(1).stderr
    assert "The rows of public.chunky are in damaged packs" in tables.ended(6).stderr
    found = made.ended(3).json
    assert "public.chunky" in found["warnings"][0] and "mm_middle" not in found["warnings"][0]
    assert "TABLE DATA public chunky" in " ".join(found["left_out"])
    assert "views read tables without their rows, or foreign tables, and are empty" in found["warnings"][1]
    query = "SELECT (SELECT count(*) FROM mm_middle), (SELECT count(*) FROM chunky)"
    assert large.sql(query, database=rest) == [(5000, 0)]
    whole_id = whole_dump.ended(0).json["manifest"]["id"]
    (not_chunked,) = run_many(large, ["extract_backup", whole_id, *extract[2:], whole, "--skip-damaged"])
    assert "stored whole: nothing behind a damaged byte" in not_chunked.ended(2).stderr


def test_user_can_store_a_dump_whole(large: Project) -> None:
    chunked, whole, next_one = run_many(large, backup(), backup("--whole"), backup("--differential"))
    assert dump_of(chunked)["chunked"] and dump_of(whole)["chunked"] is None
    assert dump_of(whole)["object"]["key"].endswith("/db/default.dump.zst.age")
    assert whole.json["manifest"]["schema"] == 2
    assert dump_of(next_one)["chunked"]["kind"] == "differential"


def test_prune_keeps_the_packs_that_the_kept_backup_needs(large: Project) -> None:
    (full,) = run_many(large, backup())
    change(large)
    second, pruned, verified = run_many(
        large,
        backup(),
        Command(["prune_backups", "--json"], {"RETENTION": {"last": 1}}),
        ["verify_backup", "--depth", "content", "--identity", large.identity],
    )
    assert pruned.ended(0).json["removed"] == [full.json["manifest"]["id"]]
    assert dump_of(second)["chunked"]["full_id"] == full.json["manifest"]["id"]
    verified.ended(0)
