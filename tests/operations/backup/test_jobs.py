"""Dumps that several sessions make: stored in several archives, and read by every command as one dump."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from igny8_backup.databases.postgresql.dump.placement import archives_of
from tests.management.commands import Command, run_many
from tests.operations.backup.moving import rotate_and_copy
from tests.services.project import Project

pytestmark = [pytest.mark.slow, pytest.mark.services]
JOBS = {"DUMP_JOBS": 3, "JOBS": 3}
NAMES = ("main", "data-01", "data-02", "data-03", "data-04", "data-05")


def test_dump_in_several_archives_is_read_by_every_command(project: Project) -> None:
    project.sql("CREATE TABLE large (id int PRIMARY KEY, words text)")
    project.sql("INSERT INTO large SELECT n, md5(n::text) FROM generate_series(1, 30000) n")
    (made,) = run_many(project, Command(["backup_db", "--json"], JOBS))
    manifest = made.ended(0).json["manifest"]
    (part,) = manifest["databases"]
    names = [item["key"].rpartition("/")[2] for item in (part["object"], *part["data"])]
    assert names == [f"default.{name}.dump.zst.age" for name in NAMES]
    assert manifest["schema"] == 3
    backup_id, copy, file = manifest["id"], f"{project.database}_copy", project.folder / "found.dump"
    identity = ["--identity", str(project.identity)]
    restore = ["restore_all", backup_id, "--only", "db", "--noinput", "--database-name", project.database]
    project.sql("DELETE FROM large WHERE id > 7")
    done = run_many(
        project,
        ["verify_backup", backup_id, "--depth", "content", *identity],
        ["drill_backup", backup_id, *identity],
        ["extract_backup", backup_id, "--only", "db", "--to-database", copy, "--table", "large", *identity],
        ["extract_backup", backup_id, "--only", "db", "--archive", file, *identity],
        Command([*restore, *identity], JOBS),
    )
    for one in done:
        one.ended(0)
    assert '"Recover a dump in several archives by hand"' in done[3].output
    wanted = "SELECT count(*), md5(string_agg(words, '' ORDER BY id)) FROM large"
    assert project.sql(wanted) == project.sql(wanted, database=copy)
    assert project.sql(wanted)[0][0] == 30_000
    program = project.server.bin_dir / "pg_restore"
    found = [
        subprocess.run([program, "--list", path], capture_output=True, check=True).stdout
        for path in sorted(project.folder.glob("found.dump*"))
    ]
    assert [b"TABLE DATA public large" in listing for listing in found].count(True) == 1 and len(found) == 6
    project.sql("DELETE FROM large")
    (in_place,) = run_many(project, Command([*restore, "--in-place", *identity], JOBS))
    in_place.ended(0)
    assert project.sql(wanted)[0][0] == 30_000

    damaged = project.storage / "igny8" / part["data"][0]["key"]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    verified, refused = run_many(
        project, ["verify_backup", backup_id, "--depth", "content", *identity], [*restore, *identity]
    )
    assert damaged.name in verified.ended(6).output
    assert damaged.name in refused.ended(6).stderr and "Nothing live was changed" in refused.stderr


def test_data_archives_are_rotated_copied_and_pruned_with_their_backup(project: Project) -> None:
    project.seed_small()
    moved = rotate_and_copy(project, Command(["backup_db", "--json"], JOBS), {})
    folders = [root / "igny8/backups" / moved.id / "db" for root in (project.storage, moved.offsite)]
    expected = [f"default.{name}.dump.zst.age" for name in sorted(NAMES)]
    for folder in folders:
        names = sorted(path.name for path in folder.glob("*.r??????.*"))
        assert [re.sub(r"\.r[0-9a-f]{6}\.", ".", name) for name in names] == expected
    assert len(list(folders[1].iterdir())) == len(NAMES)
    second, pruned = run_many(
        project,
        Command(["backup_db", "--json"], moved.settings),
        Command(["prune_backups"], {**moved.settings, "RETENTION": {"last": 1}}),
    )
    pruned.ended(0)
    assert not folders[0].exists()
    (part,) = second.ended(0).json["manifest"]["databases"]
    assert part["object"]["key"].endswith("/default.dump.zst.age") and not part["data"]


def test_default_number_of_connections_follows_size_and_machine(project: Project) -> None:
    project.sql("CREATE TABLE large (id int PRIMARY KEY, words text)")
    project.sql("ALTER TABLE large ALTER words SET STORAGE EXTERNAL")
    project.sql(
        "CREATE TABLE other AS SELECT n AS id, md5(n::text) AS words FROM generate_series(1, 30000) n"
    )
    project.sql("INSERT INTO large SELECT n, repeat(md5(n::text), 250) FROM generate_series(1, 26000) n")
    cores = len(os.sched_getaffinity(0))
    in_chunks = {"CHUNKED_DUMPS": ["default"]}
    whole, full = run_many(
        project, ["backup_db", "--json"], Command(["backup_db", "--json", "--full"], in_chunks)
    )
    project.sql("TRUNCATE large")
    small, later = run_many(project, ["backup_db", "--json"], Command(["backup_db", "--json"], in_chunks))
    ends = ((whole, 0), (full, 0), (small, 3), (later, 3))  # 3: so small a copy is suspect
    archives = [1 + len(made.ended(status).json["manifest"]["databases"][0]["data"]) for made, status in ends]
    assert archives == [archives_of(min(3, cores)), archives_of(min(2, cores)), 1, archives_of(min(2, cores))]
    if cores > 1:
        assert "connections dump the database at the same time (DUMP_JOBS)." in whole.stderr
    assert later.json["manifest"]["databases"][0]["chunked"]["kind"] != "full"
