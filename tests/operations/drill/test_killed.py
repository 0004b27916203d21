"""Drills that are killed, that lose their session, or that start twice at a time."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from demo.server import PostgresServer

from tests.management.commands import run_many
from tests.services.processes import kill_tree
from tests.services.project import Project, create, drop

SECONDS = 120
# In the scratch database of a drill, loading a row of the table takes until the gate database is gone, or two
# minutes. Whatever fires there fails the drill: the triggers at each login and change, the subscription at
# DROP DATABASE.
SCHEMA = """
    CREATE FUNCTION passed(gate text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
        WHILE current_database() LIKE '%__drill_%' AND EXISTS (SELECT FROM pg_database WHERE datname = gate)
            AND clock_timestamp() < now() + interval '2 minutes' LOOP PERFORM pg_sleep(0.05); END LOOP;
        RETURN true; END $$;
    CREATE TABLE slow (gate text CHECK (passed(gate)));
    CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
        IF current_database() LIKE '%__drill_%' THEN RAISE 'fired at %', tg_event; END IF; END $$;
    CREATE PUBLICATION p FOR TABLE slow;
    CREATE SUBSCRIPTION taken CONNECTION 'host=nowhere.invalid dbname=x' PUBLICATION p
        WITH (connect = false, slot_name = NONE);
    CREATE EVENT TRIGGER no_changes ON ddl_command_start EXECUTE FUNCTION refuse();
    ALTER EVENT TRIGGER no_changes ENABLE ALWAYS;
    CREATE EVENT TRIGGER no_logins ON login EXECUTE FUNCTION refuse();
    ALTER EVENT TRIGGER no_logins ENABLE ALWAYS"""


@pytest.fixture(scope="module")
def drilled(postgres_18: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project that has been backed up, used by a superuser: only one may create what could fire."""
    project = create(postgres_18, tmp_path_factory.mktemp("drilled"))
    server, gate = project.server, gate_of(project)
    project.environment["DATABASE_URL"] = project.environment["DATABASE_URL"].replace(
        f"{server.role}:{server.password}@", f"postgres:{server.superuser_password}@"
    )
    (project.uploads / "page").write_text("a page")
    with server.connect(project.database, superuser=True) as session:
        session.execute(SCHEMA.encode())
        session.execute("INSERT INTO slow VALUES (%s)", [gate])
        session.execute("CREATE ROLE stranger LOGIN PASSWORD 'stranger' IN ROLE pg_read_all_data")
    (made,) = run_many(project, ["backup_all"])
    made.ended(0)
    yield project
    with server.connect(project.database, superuser=True) as session:
        session.execute("DROP EVENT TRIGGER no_changes")
        session.execute("DROP EVENT TRIGGER no_logins")
        session.execute("DROP SUBSCRIPTION taken")
        session.execute("DROP ROLE stranger")
    drop(project)


def gate_of(project: Project) -> str:
    return f"gate_of_{project.database}"


def leftovers(project: Project) -> list[str]:
    """Databases beside the live one, and what lies in the scratch folder."""
    databases = [name for name in project.databases() if name != project.database]
    return databases + [path.name for path in project.scratch.iterdir()]


@contextmanager
def at_the_gate(project: Project) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A drill in the middle of loading, and its database. The drill goes on when the context ends."""
    query = """SELECT datname FROM pg_stat_activity WHERE starts_with(datname, %s || '__drill_')
        AND query LIKE 'COPY%%' AND wait_event = 'PgSleep'"""
    gate = gate_of(project)
    project.server.create_database(gate)
    try:
        with project.start("drill_backup", "--identity", project.identity, "--json") as process:
            deadline = time.monotonic() + SECONDS
            with project.server.connect(superuser=True) as session:
                while not (found := session.execute(query, [project.database]).fetchone()):
                    assert process.poll() is None, process.communicate()
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            try:
                yield process, found[0]
                project.server.drop_database(gate)
                process.wait(SECONDS)
            finally:
                process.kill()
    finally:
        project.server.drop_database(gate)


def test_drill_killed_leftovers_are_listed_and_removed(drilled: Project) -> None:
    with at_the_gate(drilled) as (process, database):
        kill_tree(process.pid)
        process.wait()
        (listed, pruned, after) = run_many(drilled, ["list_backups"], ["prune_backups"], ["list_backups"])
        assert leftovers(drilled) == [], "although its session on the server still waits"
    stamp = database.rpartition("_")[2]
    assert f"KILLED: the drill of {stamp} left its scratch databases and folders" in listed.ended(0).stdout
    assert "could not be dropped" not in pruned.ended(0).output
    assert "KILLED" not in after.ended(0).stdout
    with at_the_gate(drilled) as (process, database):
        kill_tree(process.pid)
    assert database in leftovers(drilled)
    (again,) = run_many(drilled, ["drill_backup", "--identity", drilled.identity])
    again.ended(0)
    assert leftovers(drilled) == []


def end_session(project: Project, condition: str) -> None:
    """End the one session of a drill that fulfils the condition."""
    with project.server.connect(superuser=True) as session:
        ended = session.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {condition}")
        assert ended.fetchall() == [(True,)]


def checks(project: Project) -> list[str]:
    return [path.name for path in project.storage.rglob("checks/*/*")]


def test_drill_server_ends_the_session_is_not_damage(drilled: Project) -> None:
    recorded = checks(drilled)
    with at_the_gate(drilled) as (process, database):
        end_session(drilled, f"datname = '{database}' AND query LIKE 'COPY%'")
        out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 1 and "Traceback" not in err, f"{out}{err}"
    assert "pg_restore" in err and "UNREADABLE" not in err
    assert checks(drilled) == recorded and leftovers(drilled) == []


def test_drill_lost_lock_records_nothing(drilled: Project) -> None:
    recorded = checks(drilled)
    with at_the_gate(drilled) as (process, _):
        end_session(drilled, "application_name = 'igny8_backup: a drill of web-1'")
        drilled.server.drop_database(gate_of(drilled))
        out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 5 and "Traceback" not in err, f"{out}{err}"
    assert "The lock was lost" in err and "no result was recorded" in err
    assert checks(drilled) == recorded and leftovers(drilled) == []


def test_drill_second_drill_is_locked_out_everywhere(drilled: Project, tmp_path: Path) -> None:
    for name in ("state", "scratch"):
        (tmp_path / name).mkdir()
    elsewhere = {
        "IGNY8_BACKUP_HOST": "web-2",
        "IGNY8_BACKUP_STATE_DIR": str(tmp_path / "state"),
        "IGNY8_BACKUP_SCRATCH_DIR": str(tmp_path / "scratch"),
    }
    drill, prune = ["drill_backup", "--identity", str(drilled.identity)], ["prune_backups"]
    with at_the_gate(drilled) as (process, database):
        server = drilled.server
        with pytest.raises(psycopg.OperationalError, match="does not have CONNECT privilege"):
            psycopg.connect(
                host=server.host, port=server.port, dbname=database, user="stranger", password="stranger"
            )
        here, pruned, listed = run_many(drilled, drill, prune, ["list_backups"])
        there, pruned_there = run_many(drilled, [*drill, "--wait", "1.5"], prune, env=elsewhere)
        assert database in leftovers(drilled), "nobody removed the database of the running drill"
    out, err = process.communicate()
    assert process.returncode == 0, f"{out}{err}"
    assert f"process {process.pid}, a drill, since 20" in here.ended(5).stderr
    assert "a drill of web-1 from 127.0.0.1, since 20" in there.ended(5).stderr
    assert "Waiting up to 2 s for the other run to end. Another run is using" in there.stderr
    assert "KILLED" not in listed.ended(0).stdout
    assert pruned.ended(0).stderr == pruned_there.ended(0).stderr == ""
    assert leftovers(drilled) == [] and list((tmp_path / "scratch").iterdir()) == []
