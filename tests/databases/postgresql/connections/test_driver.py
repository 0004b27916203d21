"""The seam to the driver: the same results, errors and interrupts with psycopg 3 and with psycopg2.

``-p tests.services.psycopg2_only`` runs these tests on psycopg2. Tests that start processes run on both.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from psycopg import pq

from igny8_backup.databases.postgresql.client_access import _SECRETS, _VARIABLES
from igny8_backup.databases.postgresql.connections.driver import is_option
from igny8_backup.databases.quoting import identifier, literal
from igny8_backup.databases.session import (
    DriverError,
    DuplicateDatabase,
    InsufficientPrivilege,
    InvalidName,
    UnknownTable,
)
from tests.databases.stage import Stage
from tests.services import hidden
from tests.services.postgres import open_session
from tests.services.project import Project

REPOSITORY = str(Path(__file__).resolve().parents[3])
DRIVERS = {"psycopg": "psycopg2", "psycopg2": "psycopg"}
"""Each driver, with the one that must not be imported."""

CONNECT = """
import os, sys
from igny8_backup.databases.postgresql.connections.driver import connect
other = sys.argv[1]
session = connect(dict(pair.split("=") for pair in os.environ["PARAMETERS"].split()))
assert sys.modules.get(other) is None, f"{other} was imported"
"""


@pytest.fixture(params=DRIVERS)
def environment(request: pytest.FixtureRequest, stage: Stage) -> dict[str, str]:
    """The environment of a process that has both drivers, or psycopg2 only; OTHER is not to be imported."""
    server = stage.server
    path = {"PYTHONPATH": REPOSITORY} if request.param == "psycopg" else hidden("psycopg", path=REPOSITORY)
    parameters = {
        "host": server.host,
        "port": server.port,
        "dbname": stage.name,
        "user": server.role,
        "password": server.password,
        "application_name": "interrupted",
    }
    joined = " ".join(f"{key}={value}" for key, value in parameters.items())
    return {**path, "PARAMETERS": joined, "OTHER": DRIVERS[request.param]}


def start(source: str, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", CONNECT + source, environment["OTHER"]],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Return the output and the errors of ``process``. Kill it if it does not end."""
    try:
        return process.communicate(timeout=60)
    finally:
        process.kill()


def assert_usable(source: str, environment: Mapping[str, str]) -> None:
    """Run ``source``, which interrupts a statement, and check that its session can be used again."""
    with start(source, environment) as process:
        output, error = finish(process)
    assert (output, error) == ("usable\n", "")


def test_connect_imports_only_the_driver_of_django(environment: dict[str, str]) -> None:
    source = "print(*session.execute('SELECT 1, %s::text', ['a %']).fetchone()); session.close()"
    with start(source, environment) as process:
        output, error = finish(process)
    assert (output, error) == ("1 a %\n", "")


def test_execute_interrupted_cancels_the_statement(stage: Stage, environment: dict[str, str]) -> None:
    source = """
try:
    session.execute("SELECT pg_sleep(600)")
except KeyboardInterrupt:
    print(session.execute("SELECT 'usable'").fetchone()[0])
    session.close()
"""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'interrupted' AND state = 'active'"
    )
    with start(source, environment) as process:
        while stage.sql(query) != [(1,)]:
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGINT)
        output, error = finish(process)
    assert (output, error) == ("usable\n", "")
    assert stage.sql(query) == [(0,)]


@pytest.mark.parametrize("environment", ["psycopg2"], indirect=True)
def test_execute_interrupted_while_its_thread_starts_cancels_the_statement(
    environment: dict[str, str],
) -> None:
    source = """
import signal, threading
start = threading.Thread.start
def start_and_interrupt(thread):
    start(thread)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread.start = start_and_interrupt
try:
    session.execute("SELECT pg_sleep(600)")
except KeyboardInterrupt:
    threading.Thread.start = start
    print(session.execute("SELECT 'usable'").fetchone()[0])
    session.close()
"""
    assert_usable(source, environment)


@pytest.mark.parametrize("environment", ["psycopg"], indirect=True)
def test_execute_interrupted_in_the_code_of_psycopg_cancels_the_statement(
    environment: dict[str, str],
) -> None:
    source = """
import psycopg.waiting
wait = psycopg.waiting.wait
def interrupted(statement, *arguments, **options):
    psycopg.waiting.wait = wait
    next(statement)  # it is sent
    statement.throw(KeyboardInterrupt)
psycopg.waiting.wait = interrupted
try:
    session.execute("SELECT pg_sleep(600)")
except KeyboardInterrupt:
    print(session.execute("SELECT 'usable'").fetchone()[0])
    session.close()
"""
    assert_usable(source, environment)


def test_execute_returns_values_of_all_types_in_use(stage: Stage) -> None:
    with open_session(stage.server, stage.name) as session:
        row = session.execute(
            "SELECT 1::oid, 2::bigint, 'n'::name, ARRAY['a', 'b'], true, NULL, relkind::text, %s = ANY (%s)"
            " FROM pg_class WHERE relname = 'item'",
            ["x", ["x", "y"]],
        ).fetchone()
        assert row == (1, 2, "n", ["a", "b"], True, None, "r", True)
        assert (
            session.execute("SELECT FROM item WHERE id = ANY (%(ids)s::bigint[])", {"ids": []}).rowcount == 0
        )
        assert session.execute("SET work_mem = '5MB'; SET DateStyle = 'ISO'").fetchone() is None
        assert session.execute("SELECT '100 %'").fetchall() == [("100 %",)]


def test_execute_raises_errors_by_sqlstate(stage: Stage) -> None:
    failures = {
        "SELECT FROM nowhere": UnknownTable,
        "SELECT FROM nowhere.item": UnknownTable,
        "SELECT '\"'::regclass": InvalidName,
        f"CREATE DATABASE {stage.name}": DuplicateDatabase,
        "COPY item TO '/nowhere'": InsufficientPrivilege,
        "SELECT 1 / 0": DriverError,
    }
    with open_session(stage.server, stage.name) as session:
        for statement, kind in failures.items():
            with pytest.raises(DriverError) as caught:
                session.execute(statement)
            assert type(caught.value) is kind, statement
            assert caught.value.sqlstate and caught.value.primary
        with pytest.raises(DriverError) as caught:
            session.execute("INSERT INTO part VALUES (1, 1)")
        assert caught.value.name == "UniqueViolation"
        assert (caught.value.table_name, caught.value.constraint_name) == ("part", "part_pkey")


def test_transaction_undoes_block_that_raises(stage: Stage) -> None:
    with open_session(stage.server, stage.name) as session:
        with session.transaction():
            session.execute("DELETE FROM part WHERE id = 1")
            with pytest.raises(DriverError), session.transaction():
                session.execute("DELETE FROM part")
                session.execute("SELECT 1 / 0")
            with session.transaction(rollback=True):
                session.execute("DELETE FROM part")
        assert session.execute("SELECT count(*) FROM part").fetchone() == (99,)
        with pytest.raises(ZeroDivisionError), session.transaction():
            session.execute("DELETE FROM part")
            _ = 1 / 0
        assert not session.in_transaction
        assert session.execute("SELECT count(*) FROM part").fetchone() == (99,)


def test_fetch_text_returns_what_the_server_sent(stage: Stage) -> None:
    query = "SELECT 1.50::numeric AS n, NULL, E'\\\\377'::bytea, 'ä', ARRAY[1, 2], '{\"a\": 1}'::jsonb, now()"
    with open_session(stage.server, stage.name) as session:
        session.execute("BEGIN READ ONLY; SET LOCAL bytea_output = 'hex'")
        session.declare_cursor("c", query)
        answer = session.fetch_text("c", 10)
        assert answer.columns[0] == ("n", 1700)
        ((*values, now),) = answer.rows
        assert values == ["1.50", None, "\\xff", "ä", "{1,2}", '{"a": 1}']
        assert isinstance(now, str)
        with pytest.raises(DriverError):
            session.declare_cursor("d", "SELECT 1; SELECT 2")


def test_fetch_text_escapes_bytes_of_another_encoding(stage: Stage) -> None:
    """A database with the encoding SQL_ASCII holds any bytes."""
    name = f"{stage.prefix}_ascii"
    options = "TEMPLATE template0 ENCODING SQL_ASCII LOCALE_PROVIDER libc LOCALE 'C'"
    stage.admin(f"CREATE DATABASE {name} {options}")
    try:
        with open_session(stage.server, name) as session:
            session.execute("BEGIN READ ONLY")
            session.declare_cursor("c", "SELECT convert_from('\\x61ff'::bytea, 'SQL_ASCII')")
            assert session.fetch_text("c", 1).rows == [("a\\xff",)]
    finally:
        stage.admin(f"DROP DATABASE {name}")


def test_quoting_survives_the_server(stage: Stage) -> None:
    texts = ["it's", 'say "x"', "back\\slash'", "%s {}", "ä\n"]
    with open_session(stage.server, stage.name) as session:
        for setting in ("on", "off"):
            session.execute(f"SET standard_conforming_strings = {setting}")
            for text in texts:
                (row,) = session.execute(f"SELECT {literal(text)} AS {identifier(text)}").fetchall()
                assert row == (text,)
        assert session.execute(f"SELECT {literal(-1)}, {literal(None)}").fetchone() == (-1, None)


def test_is_option_knows_parameters_of_libpq_only() -> None:
    assert all(map(is_option, ("dbname", "sslmode", "keepalives_idle", "service")))
    assert not any(map(is_option, ("pool", "isolation_level", "cursor_factory", "server_side_binding")))


def test_client_access_knows_every_variable_and_secret_of_libpq() -> None:
    for option in pq.Conninfo.get_defaults():
        keyword = option.keyword.decode()
        if option.envvar:
            assert _VARIABLES[keyword] == option.envvar.decode()
        if option.dispchar == b"*":
            assert keyword in _SECRETS


def test_backup_and_restore_on_psycopg2(project: Project) -> None:
    """In processes of their own, with migrations; psycopg 3 cannot be imported."""
    project.environment |= hidden("psycopg", path=project.environment["PYTHONPATH"])
    project.seed_small()
    query = "SELECT count(*) FROM content_searchentry"
    before = project.sql(query)
    project.run("backup_db", check=True)
    project.sql("DELETE FROM content_searchentry")
    confirmed = ("--noinput", "--database-name", project.database)
    project.run("restore_all", "--only", "db", *confirmed, "--identity", project.identity, check=True)
    assert project.sql(query) == before
    project.run("undo_restore", "--noinput", check=True)
    assert project.sql(query) == [(0,)]
