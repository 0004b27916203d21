"""A restore with many blockers is refused before anything is created, and the plan lists all of them.

The backup is from PostgreSQL 18. The target is a server of version 15, with a role of few privileges, a
``pg_restore`` of version 14 and a full volume, and the code lacks a migration.

``tests/databases/postgresql/restore/test_preflight.py`` tests the single checks on servers of all versions;
``tests/operations`` tests missing objects, two aliases of one database and missing parts.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from demo.server import PostgresServer
from psycopg import sql

from tests.bad_input.outcome import nothing_changes
from tests.docs.pages import blocks, messages, without_variables
from tests.management.clients import client_folder, of_version
from tests.management.commands import Command, Done, run_many
from tests.services import unavailable
from tests.services.project import Project, create, drop

POOR = "poor_in_rights"
OWNER = "owner_elsewhere"


@pytest.fixture(scope="module")
def saved(postgres_18: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project whose backup needs a role, an extension and a migration that another server lacks."""
    project = create(postgres_18, tmp_path_factory.mktemp("plan"))
    project.seed_small()
    with postgres_18.connect(project.database, superuser=True) as session:
        session.execute(f"CREATE ROLE {OWNER}".encode())
        session.execute(f"CREATE TABLE theirs (); ALTER TABLE theirs OWNER TO {OWNER}".encode())
        session.execute(f"GRANT {OWNER} TO {postgres_18.role}".encode())
        session.execute(b"CREATE EXTENSION vector")
    project.sql("INSERT INTO django_migrations (app, name, applied) VALUES ('content', '9999_x', now())")
    (made,) = run_many(project, ["backup_all", "--json"])
    made.ended(0)
    yield project
    drop(project)
    with postgres_18.connect(superuser=True) as session:
        session.execute(f"DROP ROLE {OWNER}".encode())


@contextmanager
def volume(folder: Path, options: str) -> Iterator[None]:
    """Mount a separate filesystem on the folder during the block."""
    mount = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        unavailable("No filesystem can be mounted here.")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A volume with space for a page or two."""
    folder = tmp_path_factory.mktemp("small")
    with volume(folder, "size=32k"):
        yield folder


@pytest.fixture(scope="module")
def refused(
    saved: Project, postgres_15: PostgresServer, small: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Done, Done]]:
    """The results of the dry run and of the restore, neither of which has changed anything."""
    old = client_folder(
        tmp_path_factory.mktemp("old") / "bin", saved.server.bin_dir, pg_restore=of_version("14.9")
    )
    with postgres_15.connect(superuser=True) as session:
        create_role = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
        session.execute(create_role.format(sql.Identifier(POOR), sql.Literal(postgres_15.password)))
        before = databases(postgres_15)
    url = postgres_15.url("postgres_is_not_there").replace(f"//{postgres_15.role}:", f"//{POOR}:")
    settings = {
        "CLIENT_BIN_DIR": str(old),
        "SITES": {"sites-data": str(small / "sites-data"), "uploads": str(small / "uploads")},
        "SCRATCH_DIR": str(small),
    }
    restore = ["restore_all", "--noinput", "--identity", str(saved.identity)]
    with nothing_changes(saved):
        planned, done = run_many(
            saved,
            Command([*restore, "--dry-run", "--json"], settings),
            Command(restore, settings),
            env={"DATABASE_URL": url},
        )
    assert databases(postgres_15) == before
    assert list(small.iterdir()) == []
    yield planned, done
    with postgres_15.connect(superuser=True) as session:
        session.execute(f"DROP ROLE {POOR}".encode())


def databases(server: PostgresServer) -> list[str]:
    with server.connect() as session:
        return [name for (name,) in session.execute("SELECT datname FROM pg_database ORDER BY 1")]


def listed(refused: tuple[Done, Done], words: str) -> str:
    """Return the only blocker with these words, and assert that the plan as JSON has it too."""
    planned, done = refused
    (line,) = [line for line in done.ended(4).stderr.splitlines() if words in line]
    assert line.startswith("  - ")
    assert line.removeprefix("  - ") in planned.ended(4).json["obstacles"]
    return line


def test_plan_lists_all_blockers_at_once(refused: tuple[Done, Done]) -> None:
    _, done = refused
    first, *lines, last = done.ended(4).stderr.splitlines()
    assert first == "CommandError: This backup cannot be restored here:"
    assert all(line.startswith("  - ") for line in lines)
    assert last.strip() == "Nothing was changed. Fix the problems listed above, then run the command again."


def test_documentation_shows_such_a_plan(refused: tuple[Done, Done]) -> None:
    _, done = refused
    stderr = done.stderr.replace(POOR, "igny8").replace(OWNER, "billing").replace("9999_x", "0042_summary")
    (shown,) = [block for block in blocks(messages(), "text") if "The dump is of" in block]
    assert set(without_variables(shown).splitlines()) <= set(without_variables(stderr).splitlines())


def test_plan_on_older_server_is_blocked(refused: tuple[Done, Done]) -> None:
    assert "restore to version 18 or newer" in listed(refused, "The dump is of PostgreSQL 18")


def test_plan_with_older_pg_restore_is_blocked(refused: tuple[Done, Done]) -> None:
    assert "postgresql-client-18" in listed(refused, "pg_restore is version 14.9")


def test_plan_by_role_without_createdb_is_blocked(refused: tuple[Done, Done]) -> None:
    assert f'ALTER ROLE "{POOR}" CREATEDB' in listed(refused, "may not create databases")


def test_plan_with_missing_role_is_blocked(refused: tuple[Done, Done]) -> None:
    assert f'CREATE ROLE "{OWNER}";' in listed(refused, "do not exist here")


def test_plan_with_missing_extension_is_blocked(refused: tuple[Done, Done]) -> None:
    listed(refused, "The extension vector is not installed on this server: install its package there.")


def test_plan_with_unknown_migration_is_blocked(refused: tuple[Done, Done]) -> None:
    assert "install the code that made the backup" in listed(refused, "content.9999_x")


def test_plan_on_full_volume_is_blocked(refused: tuple[Done, Done], small: Path) -> None:
    line = listed(refused, f"There is not enough space on {small} for sites-data, uploads:")
    assert " needed, 32.8 kB free. Free some, or give --ignore-space if" in line
