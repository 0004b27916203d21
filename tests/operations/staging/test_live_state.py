"""That nothing live was changed is checked, not assumed: a dump may change other databases, or commit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from demo.server import PostgresServer

from tests.management.commands import Done, run_many
from tests.operations.forging import HARM, change_dump
from tests.services.project import Project, create, drop

CHANGED = "While the dump was loaded, live databases changed: 'default' "
COMMENT = "COMMENT ON TABLE public.harmless IS '{}';"
COMMITTED = "COMMIT; SELECT 1/0; --"


@pytest.fixture
def attacked(postgres_15: PostgresServer, tmp_path: Path) -> Iterator[Project]:
    project = create(postgres_15, tmp_path)
    yield project
    drop(project)


def back_up(project: Project, statement: str) -> str:
    project.sql(statement)
    (made,) = run_many(project, ["backup_db", "--json"])
    backup_id: str = made.ended(0).json["manifest"]["id"]
    return backup_id


def run(project: Project, *argv: str) -> Done:
    (done,) = run_many(project, [*argv, "--identity", project.identity])
    return done


@pytest.mark.slow
@pytest.mark.parametrize("command", ["drill_backup", "restore_all", "extract_backup"])
def test_dump_that_changes_the_live_database_is_reported(attacked: Project, command: str) -> None:
    made = back_up(attacked, HARM.format(name=attacked.database))
    confirmed = ["--only", "db", "--noinput", "--database-name", attacked.database]
    options = {"restore_all": confirmed, "extract_backup": ["--to-database", f"{attacked.database}_copy"]}
    done = run(attacked, command, made, *options.get(command, []))
    assert f"{CHANGED}(comment)" in done.ended(6).stderr
    assert "Nothing live was changed" not in done.output
    if command == "restore_all":  # the swap did not take place
        assert attacked.databases() == [attacked.database]


@pytest.mark.slow
def test_archive_that_commits_a_restore_in_place_is_reported(attacked: Project) -> None:
    text = COMMENT.format("x" * 40)
    made = back_up(attacked, f"CREATE TABLE harmless (a integer); {text}")
    forged = COMMITTED.ljust(len(text))
    change_dump(attacked.storage, made, attacked.identity, attacked.recipient, text.encode(), forged.encode())
    named = ["--only", "db", "--noinput", "--database-name", attacked.database]
    done = run(attacked, "restore_all", made, "--in-place", *named)
    assert f"{CHANGED}(tables)" in done.ended(6).stderr
    assert "the database was not changed" not in done.output
    assert "division by zero" in done.stderr


@pytest.mark.slow
def test_change_by_somebody_else_is_not_reported_for_an_unchanged_database(attacked: Project) -> None:
    made = back_up(attacked, "CREATE TABLE another (a integer)")
    attacked.sql("CREATE TABLE later (a integer)")  # the application works on
    assert "matches what was backed up" in run(attacked, "drill_backup", made).ended(0).stdout
