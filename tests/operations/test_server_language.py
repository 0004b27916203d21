"""Backups and restores with a server whose messages are German."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.management import state
from tests.services import unavailable
from tests.services.project import Project

pytestmark = [pytest.mark.slow, pytest.mark.postgres(15)]


@pytest.fixture
def german(project: Project) -> Iterator[Project]:
    """A project whose role receives German messages in every database."""
    role = project.server.role
    with project.server.connect(superuser=True) as session:
        try:
            session.execute(f"ALTER ROLE {role} SET lc_messages TO 'de_DE.UTF-8'".encode())
        except psycopg.Error:
            unavailable("The locale de_DE.UTF-8 is not installed.")
        yield project
        session.execute(f"ALTER ROLE {role} RESET lc_messages".encode())


def test_every_command_works_with_german_messages(german: Project) -> None:
    german.seed_small()
    with pytest.raises(psycopg.Error, match="existiert nicht"):
        german.sql("SELECT FROM nothing")
    name = german.database
    identity: list[str | Path] = ["--identity", german.identity]
    before = state.of_project(german)
    made = json.loads(german.run("backup_db", "--json", check=True).stdout)["manifest"]["id"]
    german.run("drill_backup", made, *identity, check=True)
    german.run("extract_backup", made, "--to-database", f"{name}_copy", *identity, check=True)
    again = german.run("extract_backup", made, "--to-database", f"{name}_copy", *identity)
    assert again.returncode == 4 and "already" in again.stderr
    german.sql("TRUNCATE billing_invoice CASCADE")
    restore: list[str | Path] = ["restore_all", made, *identity, "--noinput", "--database-name", name]
    # A session of the application keeps the database in use and is ended.
    with german.server.connect(name) as session:
        german.run(*restore, "--only", "db", check=True)
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert state.differences(before, state.of_project(german)) == []
    german.run("undo_restore", "--noinput", check=True)
    german.run(*restore, "--in-place", check=True)
    assert state.differences(before, state.of_project(german)) == []
