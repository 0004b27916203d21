"""A staging database that is dropped before the swap."""

from __future__ import annotations

from tests.management import state
from tests.management.commands import run_many
from tests.operations.conftest import Saved
from tests.services.project import consenting

LOSING = """
import sys, time
import psycopg
from django.core.management import call_command
from django.db import connection
from igny8_backup.signals import phase_started

def lose(phase, **facts):
    if phase != "swap":
        return
    facts = {{**connection.get_connection_params(), "dbname": "postgres"}}
    facts = {{name: facts[name] for name in ("dbname", "user", "password", "host", "port")}}
    query = "SELECT datname FROM pg_database WHERE datname LIKE %s"
    lost = False
    while not lost:  # what a receiver raises nobody hears of, and a busy server refuses now and then
        try:
            with psycopg.connect(**facts, autocommit=True) as session:
                (name,) = session.execute(query, [{database!r} + r"\\_\\_side%"]).fetchone()
                session.execute(f'DROP DATABASE "{{name}}" WITH (FORCE)')
                lost = True
        except psycopg.OperationalError as error:
            print(error, file=sys.stderr)
            time.sleep(0.1)

phase_started.connect(lose)
call_command(*{argv!r})
"""


def test_swap_with_dropped_staging_database_changes_nothing(saved: Saved) -> None:
    argv = consenting([*saved.restore, "--only", "db"])
    code = LOSING.format(database=saved.project.database, argv=argv)
    before = state.of_project(saved.project)  # other tests may have changed it
    (lost,) = run_many(saved.project, ["shell", "-c", code])
    assert "does not exist" in lost.ended(1).stderr
    assert state.differences(before, state.of_project(saved.project)) == []
