"""The cause of a failed dump, which is found without reading the words of the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from demo.server import PostgresServer

from igny8_backup.databases.postgresql.in_place.restore import restore_in_place
from igny8_backup.databases.values import WHOLE
from igny8_backup.errors import DatabaseError, ToolError
from tests.databases.stage import Stage, blocks_of
from tests.services import unavailable
from tests.services.postgres import PostgresServers
from tests.services.project import Project

GERMAN = "de_DE.UTF-8"


@pytest.fixture
def german(make_stage: Callable[..., Stage], postgres_servers: PostgresServers) -> Iterator[Stage]:
    """A database on a server that reports errors in German."""
    stage = make_stage(postgres_servers.get(15))
    stage.create()
    try:
        stage.admin(f"ALTER DATABASE {stage.name} SET lc_messages TO '{GERMAN}'")
    except Exception:
        unavailable(f"The locale {GERMAN} is not installed.")
    yield stage


def message(stage: Stage, statement: str) -> str:
    with pytest.raises(Exception) as caught:
        stage.sql(statement)
    return str(caught.value)


def dump(stage: Stage, **changed: str) -> bytes:
    engine = stage.engine_with(**changed)
    return b"".join(engine.dump(engine.describe(())))


def test_dump_of_german_server_names_missing_privileges(german: Stage) -> None:
    assert "Relation" in message(german, "SELECT * FROM nothing")
    blind = german.make_role("blind", "LOGIN")
    with pytest.raises(ToolError, match="(?s)keine Berechtigung.*BYPASSRLS IN ROLE pg_read_all_data;"):
        dump(german, USER=blind)
    reader = german.make_role("reader", "LOGIN IN ROLE pg_read_all_data")
    german.sql("ALTER TABLE item ENABLE ROW LEVEL SECURITY")
    with pytest.raises(ToolError, match="(?s)BYPASSRLS IN ROLE pg_read_all_data;"):
        dump(german, USER=reader)


def test_dump_of_german_server_waits_for_locks(german: Stage) -> None:
    engine = german.engine
    engine.lock_seconds = 1
    details = engine.describe(())
    blocks = engine.dump(details)
    with german.server.connect(german.name) as blocker, blocker.transaction():
        blocker.execute("LOCK TABLE item IN ACCESS SHARE MODE")
        assert b"".join(blocks)


def test_restore_in_place_on_german_server_names_who_holds_locks(german: Stage) -> None:
    engine = german.engine
    details, data = engine.describe(()), dump(german)
    with german.server.connect(german.name) as holder:
        holder.execute("BEGIN; LOCK TABLE item IN ACCESS SHARE MODE")
        with pytest.raises(ToolError, match="(?s)Sperre.*rolled back.*Stop what uses") as caught:
            restore_in_place(
                engine.live,
                blocks_of(data),
                details,
                selection=WHOLE,
                scratch=german.scratch,
                bin_dir=german.bin_dir,
                lock_seconds=0.2,
            )
    assert "55P03" not in str(caught.value) and "postgres.c" not in str(caught.value)
    engine.restore_in_place(blocks_of(data), details, WHOLE)


def test_session_error_on_german_server_has_a_hint_by_its_sqlstate(german: Stage) -> None:
    with pytest.raises(DatabaseError, match="Look in the server's log"), german.engine.live.open() as session:
        session.execute("SELECT pg_terminate_backend(pg_backend_pid())")


@pytest.mark.slow
@pytest.mark.postgres(15, 18)
def test_run_with_a_value_that_is_too_large_stores_the_other_parts(project: Project) -> None:
    project.sql("CREATE TABLE upload (id int PRIMARY KEY, content bytea, note text)")
    project.sql("INSERT INTO upload VALUES (1, 'small', 'x')")
    project.sql("INSERT INTO upload VALUES (2, convert_to(repeat('x', 600000000), 'UTF8'), NULL)")
    project.seed_small()
    done = project.run("backup_all")
    assert done.returncode == 3, done.stderr
    assert "A row of public.upload (ctid (0,2)) is too large: as text it has 1.2 GB" in done.stderr
    assert "in the column content" in done.stderr and "EXCLUDE_TABLE_DATA" in done.stderr
    assert "No backup was recorded" not in done.stderr
    assert "The other databases and trees of this run were stored." in done.stderr
    alone = project.run("backup_db")
    assert (
        alone.returncode == 1 and "is too large" in alone.stderr and "No backup was recorded." in alone.stderr
    )


def test_name_that_is_not_utf8_has_a_hint(
    postgres_15: PostgresServer, make_stage: Callable[..., Stage]
) -> None:
    stage = make_stage(postgres_15)
    options = f"TEMPLATE template0 ENCODING SQL_ASCII LOCALE 'C' OWNER {postgres_15.role}"
    stage.admin(f"CREATE DATABASE {stage.name} {options}")
    stage.sql("CREATE TABLE texts (t text)")
    with stage.server.connect(stage.name) as session:
        session.execute(b"SET client_encoding = 'SQL_ASCII'")
        session.execute(b"INSERT INTO texts VALUES ('caf\xe9')")
        assert dump(stage), "values may have any encoding"
        session.execute(b'CREATE TABLE "caf\xe9" (id int)')
    with pytest.raises(DatabaseError, match="PGCLIENTENCODING=SQL_ASCII"):
        dump(stage)
