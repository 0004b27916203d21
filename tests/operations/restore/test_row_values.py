"""A restore that fails on rows reports names, and no values of rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.management.commands import Command, Done, run_many
from tests.management.state import leftovers
from tests.services.project import Project

SECRET = "sentinel-5e@tenant.example"
# Constraints that hold only in the original database, so that the rows cannot be restored.
SCHEMA = f"""
    CREATE FUNCTION told(name text) RETURNS text IMMUTABLE LANGUAGE sql AS
        $$ SELECT CASE WHEN current_database() = '{{database}}' THEN name ELSE '{SECRET}' END $$;
    CREATE FUNCTION home() RETURNS bool IMMUTABLE LANGUAGE sql AS
        $$ SELECT current_database() = '{{database}}' $$;
    CREATE TABLE people (name text);
    INSERT INTO people VALUES ('{SECRET}'), ('another');
    {{failing}}"""
FAILING = {
    "key": (
        "CREATE UNIQUE INDEX one_each ON people (told(name))",
        ["one_each", "told(name))=(********)"],
    ),
    "rows": ("ALTER TABLE people ADD CONSTRAINT at_home CHECK (home())", ["at_home", "COPY people, line 1"]),
}
SETTINGS = """
from project.settings import *
INSTALLED_APPS += ["later"]
"""
MIGRATION = """
from django.db import migrations

class Migration(migrations.Migration):
    dependencies = [("content", "0001_initial")]
    operations = [migrations.RunSQL("CREATE UNIQUE INDEX one_each ON people (split_part(name, ' of ', 2))")]
"""


def assert_shown_without_values(done: Done, words: list[str]) -> None:
    output = done.ended(1).output
    assert SECRET not in output and all(word in output for word in words), output


@pytest.mark.postgres(15, 18)
@pytest.mark.parametrize("kind", FAILING)
def test_failed_restore_shows_no_values_of_rows(project: Project, kind: str) -> None:
    failing, words = FAILING[kind]
    with project.server.connect(project.database) as session:
        session.execute(SCHEMA.format(database=project.database, failing=failing).encode())
    restore = ["restore_all", "--only", "db", "--noinput", "--database-name", project.database]
    restore += ["--identity", str(project.identity)]
    made, staged, scratch = run_many(
        project,
        ["backup_db"],
        Command(restore, {"JOBS": 1}),
        Command([*restore, "--json"], {"JOBS": 2}),
    )
    made.ended(0)
    assert_shown_without_values(staged, words)
    assert_shown_without_values(scratch, words)
    other = f"{project.database}_b"
    project.server.create_database(other)
    url = project.environment["DATABASE_URL"].replace(project.database, other)
    named = [word.replace(project.database, other) for word in restore]
    (in_place,) = run_many(project, [*named, "--in-place"], env={"DATABASE_URL": url})
    assert_shown_without_values(in_place, words)
    project.server.drop_database(other)
    assert leftovers(project) == []


def test_failed_migration_of_a_restore_shows_no_values_of_rows(project: Project, tmp_path: Path) -> None:
    with project.server.connect(project.database) as session:
        session.execute(SCHEMA.format(database=project.database, failing="").encode())
        session.execute(f"UPDATE people SET name = name || ' of {SECRET}'".encode())
    (tmp_path / "later/migrations").mkdir(parents=True)
    (tmp_path / "later/__init__.py").touch()
    (tmp_path / "later/migrations/__init__.py").touch()
    (tmp_path / "later/migrations/0001_initial.py").write_text(MIGRATION)
    (tmp_path / "further_settings.py").write_text(SETTINGS)
    (made,) = run_many(project, ["backup_db"])
    made.ended(0)
    restore = ["restore_all", "--only", "db", "--noinput", "--database-name", project.database]
    env = {
        "PYTHONPATH": f"{tmp_path}:{project.environment['PYTHONPATH']}",
        "DJANGO_SETTINGS_MODULE": "further_settings",
    }
    (failed,) = run_many(project, [*restore, "--identity", project.identity], env=env)
    assert_shown_without_values(failed, ["Migrating the staging database failed", "one_each", ")=(********)"])
