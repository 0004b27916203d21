"""Restored databases are identical to the original: ``pg_dump`` writes the same bytes."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

from tests.databases.stage import plain_dump
from tests.services.project import Project

# Properties of the database, and objects that Django does not create.
ODDITIES = """
    COMMENT ON DATABASE {name} IS 'igny8: äöü € 税, it''s all here';
    ALTER DATABASE {name} CONNECTION LIMIT 77;
    ALTER DATABASE {name} SET search_path TO "$user", public, "Odd, Schema";
    ALTER DATABASE {name} SET work_mem TO '9MB';
    ALTER ROLE {role} IN DATABASE {name} SET timezone TO 'Europe/Vienna';
    REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC;
    CREATE SCHEMA "Odd, Schema";
    CREATE TABLE "Odd, Schema"."Ta""ble; --" ("a b" text COLLATE "C", "üñï" bytea, d interval, x xml);
    INSERT INTO "Odd, Schema"."Ta""ble; --" VALUES (E'tab\\t nl\\n \\\\. ', '\\x00ff', '1 mon -3 days', NULL);
    CREATE SEQUENCE "Odd, Schema".counter MINVALUE -5 START -5 CYCLE;
    SELECT nextval('"Odd, Schema".counter');
    CREATE FUNCTION public.noise() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN NULL; END';
    CREATE STATISTICS public.both (dependencies) ON number, state FROM public.billing_invoice;
    CREATE RULE quiet AS ON DELETE TO public.igny8_sites_pageview_rest DO INSTEAD NOTHING;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO pg_monitor;
    SELECT lo_from_bytea(4711, 'a large object');
    COMMENT ON LARGE OBJECT 4711 IS 'large';"""


def recorded(project: Project) -> tuple[bytes, bytes]:
    """Return the database as SQL, and its schema with the properties of the database."""
    server, name = project.server, project.database
    return plain_dump(server, name), plain_dump(server, name, "--create", "--schema-only")


def assert_same(found: tuple[bytes, bytes], expected: tuple[bytes, bytes]) -> None:
    """Compare two dumps; fail with the lines that differ."""
    for one, other in zip(found, expected, strict=True):
        before, after = (text.decode(errors="backslashreplace").splitlines() for text in (other, one))
        assert list(difflib.unified_diff(before, after, n=1, lineterm="")) == []
        assert one == other


def seed(project: Project) -> None:
    project.seed_small()
    for statement in ODDITIES.format(name=project.database, role=project.server.role).split(";\n"):
        project.sql(statement)


def restore(project: Project, *options: str | Path, **env: str) -> None:
    command = ["restore_all", "--only", "db", "--identity", project.identity, "--noinput", *options]
    project.run(*command, check=True, env=env)


@pytest.mark.postgres(15, 16, 18)
def test_restore_of_destroyed_database_is_identical(project: Project) -> None:
    seed(project)
    before = recorded(project)
    assert len(before[0]) > 400_000 and b"ALTER DATABASE" in before[1]
    project.run("backup_db", check=True)
    project.server.drop_database(project.database)
    restore(project)
    assert_same(recorded(project), before)
    assert project.databases() == [project.database]


def test_restore_of_damaged_database_without_scratch_is_identical(project: Project) -> None:
    seed(project)
    before = recorded(project)
    project.run("backup_db", check=True)
    project.sql("DROP SCHEMA reporting CASCADE")
    project.sql("TRUNCATE billing_invoice CASCADE")
    damaged = recorded(project)
    restore(project, "--database-name", project.database, IGNY8_BACKUP_JOBS="1")
    assert_same(recorded(project), before)
    (previous,) = set(project.databases()) - {project.database}
    assert plain_dump(project.server, previous) == damaged[0]
