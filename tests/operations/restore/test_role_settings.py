"""Restores whose role or database has settings that are in the way: found in the plan, or no obstacle."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.management.commands import run_many, run_one
from tests.services.project import Project
from tests.services.rotating.base import SUPERUSER_PASSWORD

ROTATING = """
DATABASES["default"]["ENGINE"] = "tests.services.rotating"
DATABASES["default"]["PASSWORD"] = ""
IGNY8_BACKUP["JOBS"] = 2
"""


def administer(project: Project, statement: str) -> None:
    with project.server.connect(superuser=True) as session:
        session.execute(statement.encode())


@pytest.mark.postgres(15, 18)
def test_restore_of_read_only_database_with_time_limits_works(project: Project) -> None:
    """The settings are copied to the restored database, and apply to the application afterwards."""
    rows = project.seed_small()
    project.sql("CREATE TABLE odd AS SELECT '{1,NULL}'::integer[] AS numbers")
    for setting in (
        "array_nulls = off",
        "transform_null_equals = on",
        "default_transaction_isolation = 'serializable'",
        "default_transaction_read_only = on",
        "statement_timeout = '30s'",
        "idle_session_timeout = '1min'",
    ):
        administer(project, f"ALTER DATABASE {project.database} SET {setting}")
    made = run_one(project, "backup_db", "--json").ended(0)
    assert made.json["warnings"] == []
    identity = ["--noinput", "--database-name", project.database, "--identity", str(project.identity)]
    run_one(project, "drill_backup", "--identity", project.identity).ended(0)
    run_one(project, "restore_all", "--only", "db", *identity).ended(0)
    (found,) = project.sql(
        "SELECT current_setting('default_transaction_read_only'), count(*) FROM content_article"
    )
    assert found[0] == "on" and 0 < found[1] < rows
    run_one(project, "restore_all", "--only", "db", "--in-place", *identity).ended(0)


@pytest.mark.postgres(15, 18)
def test_restore_with_password_for_each_connection_works(project: Project, tmp_path: Path) -> None:
    project.seed_small()
    role = f"{project.database}_rotated"
    administer(project, f"CREATE ROLE {role} LOGIN CREATEDB IN ROLE {project.server.role}")
    project.settings(ROTATING + f'DATABASES["default"]["USER"] = "{role}"\n')
    project.environment[SUPERUSER_PASSWORD] = project.server.superuser_password
    try:
        made, drilled = run_many(
            project, ["backup_db", "--json"], ["drill_backup", "--identity", project.identity]
        )
        assert made.ended(0).json["warnings"] == []
        drilled.ended(0)
        named = ["--database-name", project.database, "--identity", str(project.identity)]
        run_one(project, "restore_all", "--only", "db", "--noinput", *named).ended(0)
        run_one(project, "undo_restore").ended(0)
    finally:
        for name in project.databases():
            project.server.drop_database(name)
        administer(project, f"DROP ROLE {role}")


@pytest.mark.postgres(15, 18)
def test_restore_where_public_belongs_to_a_superuser_works(project: Project) -> None:
    """As in a database that was created before PostgreSQL 15."""
    project.seed_small()
    with project.server.connect(project.database, superuser=True) as session:
        session.execute("ALTER SCHEMA public OWNER TO postgres; GRANT ALL ON SCHEMA public TO PUBLIC")
    run_one(project, "backup_db").ended(0)
    named = ["--database-name", project.database, "--identity", str(project.identity)]
    planned, done = run_many(
        project,
        ["restore_all", "--only", "db", "--dry-run", "--identity", project.identity],
        ["restore_all", "--only", "db", "--noinput", *named],
    )
    assert "GRANT" not in planned.ended(0).output
    done.ended(0)


FAILING = """
    CREATE FUNCTION broken(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'no'; END $$;
    CREATE STATISTICS of_broken ON (broken(title)), slug FROM content_article;"""


@pytest.mark.postgres(18)
def test_statistics_that_fail_are_a_warning(project: Project) -> None:
    """Everything is restored, so the command says what failed and ends with status 3."""
    project.seed_small()
    project.sql(FAILING)
    run_one(project, "backup_db").ended(0)
    identity = ["--identity", str(project.identity)]
    named = ["--noinput", "--database-name", project.database, *identity]
    drilled, restored, extracted, in_place = run_many(
        project,
        ["drill_backup", *identity],
        ["restore_all", "--only", "db", *named],
        ["extract_backup", "--to-database", f"{project.database}_copy", *identity],
        ["restore_all", "--only", "db", "--in-place", *named],
    )
    for done in (drilled, restored, extracted, in_place):
        text = "WARNING: The planner's statistics of public.content_article were not collected: no"
        assert text in done.ended(3).stderr, done.argv
        assert "ANALYZE public.content_article;" in done.stderr
