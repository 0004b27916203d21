"""Failures of the database and its programs: a server that is stopped, full or locked, missing privileges,
connection poolers, and a ``pg_dump`` that fails.

Other tests cover, also end to end:

* ``pg_dump`` or ``pg_restore`` missing, too old, or mute: ``tests/management/test_errors.py``,
  ``test_clients_that_are_missing_or_too_old``;
* the server down, a wrong password: there, ``test_a_server_that_does_not_answer``;
* an unknown alias: there, ``test_what_does_not_exist``;
* two aliases of one database: ``tests/operations/restore/planning/test_preflight.py``;
* output of ``pg_dump`` that is no dump: ``tests/databases/postgresql/dump/test_dump.py``;
* a lock that is lost with its session: ``tests/operations/test_interrupted.py``.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from demo.account import private_folder
from psycopg.conninfo import make_conninfo

from tests.bad_input.conftest import Ground
from tests.bad_input.database import SECONDS, OwnServer, pgbouncer, running
from tests.bad_input.outcome import Case, assert_one_line, fail, nothing_changes
from tests.docs.pages import assert_shown
from tests.management.clients import client_folder, gated
from tests.management.commands import Command, run_many
from tests.services.postgres import NEWEST, PostgresServers
from tests.services.project import Project, create

FOLDERS = {"FOLDER": "storage", "STATE_DIR": "state"}
BACKUP = ["backup_db"]
ONLY_HERE = ("The lock on the database server could not be taken",)
TABLE = "content_article"


@pytest.fixture(scope="module")
def own(postgres_servers: PostgresServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A project with one backup, on a server that the tests of this module may stop and fill up."""
    base = private_folder("igny8-own-")
    try:
        with OwnServer(postgres_servers.get(NEWEST).bin_dir, base, durable=False) as server:
            project = create(server, tmp_path_factory.mktemp("own"))
            project.seed_small()
            (made,) = run_many(project, ["backup_all", "--json"])
            yield Ground(project, made.ended(0).json["manifest"]["id"])
    finally:
        shutil.rmtree(base)


@pytest.fixture
def project(own: Ground) -> Project:
    return own.project


def server_of(project: Project) -> OwnServer:
    assert isinstance(project.server, OwnServer)
    return project.server


def clients(project: Project, folder: Path, **scripts: str) -> dict[str, Any]:
    return {"CLIENT_BIN_DIR": str(client_folder(folder, project.server.bin_dir, **scripts))}


def test_backup_with_killed_pg_dump_fails(project: Project, tmp_path: Path) -> None:
    changed = clients(project, tmp_path / "bin", pg_dump='"$REAL/pg_dump" "$@"; kill -9 $$')
    fail(
        project,
        Case(
            BACKUP,
            1,
            "pg_dump was killed by SIGKILL",
            "No backup was",
            "(dmesg)",
            settings=changed,
            shown=True,
        ),
    )


def test_backup_with_pg_dump_failing_late_fails(project: Project, tmp_path: Path) -> None:
    script = '"$REAL/pg_dump" "$@"; head -c 1048576 /dev/zero; echo "one line" >&2; echo last >&2; exit 1'
    changed = clients(project, tmp_path / "bin", pg_dump=script)
    what = "pg_dump failed with exit status 1: one line last."
    fail(project, Case(BACKUP, 1, what, "No backup was", "Remove the cause that pg_dump", settings=changed))


def test_backup_with_hanging_pg_dump_reports_and_waits(project: Project, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    complete = tmp_path / "complete"
    script = (
        f'"$REAL/pg_dump" "$@" > {complete} || exit; head -c 30000 {complete}\n'
        f"while [ -e {gate} ]; do sleep 0.05; done; tail -c +30001 {complete}"
    )
    env = {"IGNY8_BACKUP_STALL_SECONDS": "1"}
    env["IGNY8_BACKUP_CLIENT_BIN_DIR"] = clients(project, tmp_path / "bin", pg_dump=script)["CLIENT_BIN_DIR"]
    env |= {f"IGNY8_BACKUP_{key}": str(tmp_path / name) for key, name in FOLDERS.items()}
    with running(project, *BACKUP, env=env) as command:
        line = command.wait_for("nothing has moved")
        assert line == (
            "database default: nothing has moved for 1 second, waiting for the dump. The run goes on.\n"
        )
        assert "for 2 seconds" in command.wait_for("nothing has moved"), "and again, after twice as long"
        gate.unlink()
        assert command.wait_for("moving again after ").startswith("database default: ")
        done = command.ends().ended(0)
    assert "Backup " in done.stdout and list((tmp_path / "storage").rglob("manifest.json"))


def test_backup_waiting_for_a_lock_names_the_holder(project: Project, tmp_path: Path) -> None:
    env = {"IGNY8_BACKUP_STALL_SECONDS": "1"}
    env |= {f"IGNY8_BACKUP_{key}": str(tmp_path / name) for key, name in FOLDERS.items()}
    with locked_table(project) as blocker, running(project, *BACKUP, env=env) as command:
        pid = blocker.info.backend_pid
        line = command.wait_for("nothing has moved")
        held = f"A lock on {TABLE} is held by process {pid} (nightly report, role {project.server.role};"
        assert held in line and f"pg_terminate_backend({pid})" in line
        blocker.rollback()
        assert_shown(line + command.wait_for("moving again"))
        command.ends().ended(0)


def locked_table(project: Project) -> closing[psycopg.Connection[Any]]:
    """Hold a lock in another session that prevents reads of a table."""
    url = make_conninfo(project.server.url(project.database), application_name="nightly report")
    session = psycopg.connect(url)
    session.execute(f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE".encode())
    return closing(session)


def test_backup_with_server_restarted_during_the_dump_fails(project: Project) -> None:
    server = server_of(project)
    with nothing_changes(project):
        with locked_table(project), running(project, *BACKUP) as command:
            wait_until_locked_out(project)
            server.stop()
            done = command.ends()
        server.start_again()
    assert_one_line(
        done,
        1,
        what="reported an error: terminating connection",
        unchanged="No backup was recorded.",
        hint="Look in the server's log for why it ended the connection. Run again when the server answers.",
        shown=True,
    )


def wait_until_locked_out(project: Project) -> None:
    query = "SELECT pid FROM pg_locks WHERE NOT granted"
    deadline = time.monotonic() + SECONDS
    while not project.sql(query):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_restore_with_server_stopped_meanwhile_fails(own: Ground, tmp_path: Path) -> None:
    project, server = own.project, server_of(own.project)
    started, gate = tmp_path / "started", tmp_path / "gate"
    gate.touch()
    # Half of the work is done when the server goes.
    script = '[ "$1" = --list ] && exec "$REAL/pg_restore" "$@"\n'
    archive = tmp_path / "archive"
    script += (
        f'cat >{archive}\n"$REAL/pg_restore" --section=pre-data "$@" <{archive} || exit\nexec <{archive}\n'
    )
    script += gated(started, gate, "pg_restore")
    folder = client_folder(tmp_path / "bin", server.bin_dir, pg_restore=script)
    env = {"IGNY8_BACKUP_CLIENT_BIN_DIR": str(folder)}
    with nothing_changes(project):
        with running(project, *own.restore, "--only", "db", *own.identity, env=env) as command:
            while not started.exists():
                assert command.process.poll() is None, command.ends()
                time.sleep(0.05)
            server.stop()
            gate.unlink()
            done = command.ends()
        server.start_again()
        assert len(project.databases()) == 2
        (removed,) = run_many(project, ["undo_restore"])
        assert (
            "The interrupted restore had not changed any live data. The databases and folders that it had"
            " prepared were removed." in removed.output
        )
    assert_one_line(
        done,
        1,
        what="pg_restore failed with exit status 1",
        unchanged="Whether the live database 'default' was changed is not known, because its server",
        hint="Start the server",
        shown=True,
        notes=[
            "The live database 'default' could not be examined: No connection to",
            "could not be removed. The next restore_all will",
        ],
    )


def test_backup_without_free_connection_fails(own: Ground) -> None:
    with nothing_changes(own.project), server_of(own.project).full():
        saved, restored = run_many(own.project, BACKUP, [*own.restore, *own.identity])
    for done in (saved, restored):
        assert_one_line(
            done,
            1,
            what="No connection to igny8@",
            hint="End idle sessions, or raise max_connections",
            shown=done is saved,
            notes=ONLY_HERE,
        )


def test_backup_by_role_with_hidden_rows_fails(project: Project) -> None:
    change = f"ALTER TABLE {TABLE} {{}} ROW LEVEL SECURITY, {{}} FORCE ROW LEVEL SECURITY"
    grant, revoke = change.format("DISABLE", "NO"), change.format("ENABLE", "").replace(",  FORCE", ", FORCE")
    with server_of(project).granted(grant, revoke, project.database):
        fail(
            project,
            Case(
                BACKUP,
                1,
                f'affected by row-level security policy for table "{TABLE}"',
                "No backup was recorded.",
                "create a role for backups: `CREATE ROLE igny8_backup",
                shown=True,
            ),
        )


def test_backup_by_role_without_read_privilege_fails(project: Project) -> None:
    grant = f"ALTER TABLE {TABLE} OWNER TO igny8"
    revoke = f"ALTER TABLE {TABLE} OWNER TO postgres"
    with nothing_changes(project), server_of(project).granted(grant, revoke, project.database):
        (done,) = run_many(project, BACKUP)
    assert_one_line(
        done,
        1,
        what=f"permission denied for table {TABLE}.",
        unchanged="No backup was recorded.",
        hint="create a role for backups: `CREATE ROLE igny8_backup",
        shown=True,
    )


def test_backup_by_role_without_maintenance_database_fails(own: Ground, tmp_path: Path) -> None:
    """A restore needs the database; a backup only warns that other hosts are not locked out."""
    words = "CONNECT ON DATABASE postgres, template1 {} PUBLIC"
    grant, revoke = "GRANT " + words.format("TO"), "REVOKE " + words.format("FROM")
    with nothing_changes(own.project), server_of(own.project).granted(grant, revoke):
        restored, saved = run_many(
            own.project, [*own.restore, *own.identity], Command(BACKUP, storage=tmp_path)
        )
    assert_one_line(
        restored,
        1,
        what='permission denied for database "postgres"',
        unchanged="Nothing was changed.",
        hint='GRANT CONNECT ON DATABASE "postgres" TO "igny8"',
        shown=True,
    )
    assert f"{ONLY_HERE[0]}. No connection to igny8@" in saved.ended(0).stderr


@pytest.fixture(scope="module")
def pooler(own: Ground) -> Iterator[int]:
    with pgbouncer(own.project.server) as port:
        yield port


def through(project: Project, port: int) -> dict[str, str]:
    """Return the environment in which the application connects to its database through that port."""
    url = project.environment["DATABASE_URL"]
    return {"DATABASE_URL": url.replace(f":{project.server.port}/", f":{port}/")}


def advisory_locks(project: Project) -> list[Any]:
    return project.sql("SELECT pid FROM pg_locks WHERE locktype = 'advisory'")


def test_backup_through_pgbouncer_is_refused(own: Ground, pooler: int) -> None:
    fail(
        own.project,
        Case(
            BACKUP,
            4,
            "is a connection pooler (PgBouncer or similar)",
            "Nothing was read or written.",
            "DBBACKUP_CONNECTORS = {'default': {'HOST': '...', 'PORT': '5432'}}",
            notes=ONLY_HERE,
            shown=True,
        ),
        env=through(own.project, pooler),
    )
    assert advisory_locks(own.project) == [], "a session of the pooler holds the lock of a run that is over"


def test_restore_through_pgbouncer_is_refused(own: Ground, pooler: int) -> None:
    with nothing_changes(own.project):
        (done,) = run_many(own.project, [*own.restore, *own.identity], env=through(own.project, pooler))
    assert "is a connection pooler" in done.ended(4).stderr


def test_backup_past_pgbouncer_succeeds(own: Ground, pooler: int, tmp_path: Path) -> None:
    """Backups of files need no database. Dumps and the lock use the connection named for backups."""
    project = own.project
    port = project.server.port
    env = {
        **through(project, pooler),
        "PYTHONPATH": f"{tmp_path}:{project.environment['PYTHONPATH']}",
        "DJANGO_SETTINGS_MODULE": "past_the_pooler",
    }
    (tmp_path / "past_the_pooler.py").write_text(
        "from project.settings import *\n"
        f"DBBACKUP_CONNECTORS = {{'default': {{'HOST': '127.0.0.1', 'PORT': '{port}'}}}}\n"
    )
    storage = tmp_path / "storage"
    files, saved = run_many(
        project,
        Command(["backup_sites", "uploads"], storage=storage),
        Command(BACKUP, storage=storage),
        env=env,
    )
    for done in (files, saved):
        assert "The lock on the database server could not be taken" not in done.ended(0).stderr
    (alone,) = run_many(
        project,
        Command(["backup_sites", "uploads"], storage=tmp_path / "other"),
        env=through(project, pooler),
    )
    assert "The lock on the database server could not be taken" in alone.ended(0).stderr
    assert advisory_locks(project) == []
