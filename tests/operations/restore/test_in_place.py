"""Restores in place, for roles that may not create databases, succeed completely or change nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases.fakes import fake, link
from tests.databases.stage import plain_dump
from tests.management.commands import Command, run_many
from tests.services.project import SECONDS, Project


@pytest.fixture
def poor(project: Project) -> Iterator[Project]:
    """A project whose role may not create databases during the test."""
    project.seed_small()
    try:
        _may(project, "NOCREATEDB")
        yield project
    finally:
        _may(project, "CREATEDB")


def _may(project: Project, what: str) -> None:
    with project.server.connect(superuser=True) as session:
        session.execute(f"ALTER ROLE {project.server.role} {what}".encode())


def dumped(project: Project) -> bytes:
    return plain_dump(project.server, project.database)


def half_way(project: Project, started: Path) -> Path:
    """Create a folder of client programs whose ``pg_restore`` writes half of its script and then waits."""
    folder = project.folder / "half way"
    real = project.server.bin_dir
    script = f"""
        [ "$1" = --list ] && exec {real}/pg_restore "$@"
        {real}/pg_restore "$@" > {started}.script
        head -c $(($(stat -c %s {started}.script) / 2)) {started}.script
        echo $$ > {started}.new; mv {started}.new {started}
        exec sleep 600 > /dev/null"""
    version = f"{project.server.major}.0"
    fake(folder, "pg_restore", script, version=version)
    for name in ("pg_dump", "psql"):
        link(folder, real / name)
    return folder


@pytest.mark.postgres(15, 18)
def test_in_place_restore_can_be_undone(poor: Project) -> None:
    before = dumped(poor)
    options = ["--identity", str(poor.identity)]
    named = [*options, "--noinput", "--database-name", poor.database]
    (made,) = run_many(poor, ["backup_db", "--json"])
    backup_id = made.ended(0).json["manifest"]["id"]
    poor.sql("UPDATE accounts_account SET name = 'wrong'")
    poor.sql("CREATE TABLE made_later (id int)")
    after = dumped(poor)
    assert before != after
    excluded = {"EXCLUDE_TABLE_DATA": {"default": ["igny8_sites_pageview"]}}
    swapped, planned, unnamed, mixed = run_many(
        poor,
        ["restore_all", "--only", "db", *named],
        ["restore_all", "--in-place", "--dry-run", *options],
        ["restore_all", "--in-place", *options, "--noinput"],
        ["restore_all", "--in-place", "--to-database", "x", *options],
    )
    assert "may not create databases" in swapped.ended(4).stderr and "--in-place" in swapped.stderr
    assert "NOTHING BUT this backup can undo" in planned.ended(0).stdout
    note = f"NOTE: Files are not restored. To restore them: restore_all {backup_id} --only files."
    assert note in planned.stdout
    assert f"--database-name {poor.database}" in unnamed.ended(2).stderr
    assert "no longer takes --to-database" in mixed.ended(2).stderr
    assert dumped(poor) == after

    killed_half_way(poor, [*named, backup_id])
    assert dumped(poor) == after

    (done,) = run_many(poor, Command(["restore_all", backup_id, "--in-place", *named, "--json"], excluded))
    result = done.ended(0).json
    assert (result["backup_id"], result["warnings"]) == (backup_id, [])
    assert dumped(poor) == before
    # The backup that can undo it is complete, with rows that the settings exclude.
    (back,) = run_many(poor, ["restore_all", result["saved"], "--in-place", "--only", "default", *named])
    assert "To undo the restore: python manage.py restore_all 2" in back.ended(0).stdout
    assert dumped(poor) == after


def test_undo_restore_after_in_place_names_the_safety_copy_and_discard_releases_it(poor: Project) -> None:
    options = ["--identity", str(poor.identity), "--noinput", "--database-name", poor.database]
    run_many(poor, ["backup_db"])
    (done,) = run_many(poor, ["restore_all", "--in-place", "--json", *options])
    saved = done.ended(0).json["saved"]
    undone, planned = run_many(poor, ["undo_restore"], ["undo_restore", "--discard", "--dry-run"])
    assert "cannot undo a restore in place" in undone.ended(2).stderr
    assert f"restore_all {saved} --in-place --only default" in undone.stderr
    assert f"backup {saved}: default" in planned.ended(0).stdout
    poor.sql(
        "DO $$ DECLARE one regclass; BEGIN FOR one IN SELECT oid FROM pg_class WHERE relkind IN ('r', 'p')"
        " AND relnamespace::regnamespace::text !~ '^(pg_|information_schema)' LOOP"
        " CONTINUE WHEN NOT EXISTS (SELECT FROM pg_class WHERE oid = one);"  # dropped by CASCADE
        " EXECUTE format('DROP TABLE %s CASCADE', one); END LOOP; END $$"
    )
    (refused,) = run_many(poor, ["undo_restore", "--discard", "--noinput"])
    assert f"so the safety copy {saved} may be the only copy" in refused.ended(4).stderr
    poor.sql("CREATE TABLE public.refilled AS SELECT 1 AS id")
    released, again = run_many(
        poor, ["undo_restore", "--discard", "--noinput"], ["undo_restore", "--discard", "--noinput"]
    )
    assert f"Released these safety copies: {saved}" in released.ended(0).stdout
    assert "No data of earlier restores is kept" in again.ended(2).stderr


def killed_half_way(project: Project, options: list[str]) -> None:
    """Kill the command with SIGKILL when the server has received half of the script."""
    started = project.folder / "started"
    clients = half_way(project, started)
    with project.start(
        "restore_all", "--in-place", *options, env={"IGNY8_BACKUP_CLIENT_BIN_DIR": str(clients)}
    ) as running:
        deadline = time.monotonic() + SECONDS
        while not started.exists():
            assert running.poll() is None and time.monotonic() < deadline, running.communicate()
            time.sleep(0.05)
        sessions = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_xid IS NOT NULL AND application_name = 'igny8_backup'"
        )
        while project.sql(sessions) == [(0,)]:
            time.sleep(0.05)
        running.kill()
    os.kill(int(started.read_text()), signal.SIGKILL)
    while project.sql(sessions) != [(0,)]:
        time.sleep(0.05)


def test_in_place_with_differing_migrations_is_refused(project: Project) -> None:
    project.seed_small()
    project.sql("DELETE FROM django_migrations WHERE app = 'billing'")
    made, refused, sqlite = run_many(
        project,
        ["backup_db"],
        ["restore_all", "--in-place", "--dry-run", "--identity", project.identity],
        ["restore_all", "--in-place", "--only", "uploads", "--identity", project.identity],
    )
    made.ended(0)
    assert "billing: none in the backup, 0" in refused.ended(4).stderr
    assert "--in-place takes exactly one database" in sqlite.ended(2).stderr
