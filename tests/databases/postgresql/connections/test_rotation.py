"""Passwords that expire during a run: every session and every client program asks for a new one."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from igny8_backup.databases.postgresql.client_access import client_access
from igny8_backup.databases.postgresql.connections.connection import Connection
from igny8_backup.databases.postgresql.engine import PostgresqlEngine
from igny8_backup.databases.values import WHOLE, Answers
from igny8_backup.errors import DatabaseError
from tests.databases.stage import Stage, blocks_of, configured
from tests.services.rotating.base import SUPERUSER_PASSWORD

both_ends = pytest.mark.postgres(15, 18)


@pytest.fixture
def rotating(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> PostgresqlEngine:
    """The engine of a role whose password is valid only until the next one is asked for."""
    monkeypatch.setenv(SUPERUSER_PASSWORD, stage.server.superuser_password)
    role = stage.make_role("rotated", "LOGIN CREATEDB")
    stage.admin(f"GRANT {stage.role} TO {role}")
    return stage.engine_with(ENGINE="tests.services.rotating", USER=role, PASSWORD="")


@both_ends
@pytest.mark.parametrize("jobs", [1, 3])
def test_backup_and_restore_with_password_for_each_connection(
    stage: Stage, rotating: PostgresqlEngine, jobs: int
) -> None:
    details = rotating.describe(())
    answers: list[Answers] = []
    data = b"".join(rotating.dump(details, {"items": "SELECT count(*) FROM item"}, answers.append))
    assert answers[0].row_counts["public.item"] == 200 and answers[0].probes[0].rows == (("200",),)
    staging, previous = stage.staging, stage.previous
    with rotating.lock_session() as lock:
        assert rotating.blockers(stage.part(), details) == []
        rotating.create_staging(staging, details)
        rotating.load(staging, blocks_of(data), jobs=jobs)
        assert rotating.analyze(staging) == {}
        rotating.copy_settings(staging, details)
        rotating.swap(staging, previous, details)
        lock.execute("SELECT")
    assert stage.sql("SELECT count(*) FROM item") == [(200,)]
    rotating.drop(previous)


@both_ends
def test_restore_in_place_with_password_for_each_connection(stage: Stage, rotating: PostgresqlEngine) -> None:
    details = rotating.describe(())
    data = b"".join(rotating.dump(details))
    stage.sql("DELETE FROM part")
    rotating.restore_in_place(blocks_of(data), details, WHOLE)
    assert stage.sql("SELECT count(*) FROM part") == [(100,)]


def test_dump_continues_when_password_changes_after_its_start(stage: Stage) -> None:
    """Nothing connects again after the dump: what is needed was read before."""
    role = stage.make_role("changed", "LOGIN IN ROLE pg_read_all_data")
    engine = stage.engine_with(USER=role)
    details = engine.describe(())
    answers: list[Answers] = []
    with closing(engine.dump(details, {}, answers.append)) as blocks:
        data = next(blocks)
        stage.admin(f"ALTER ROLE {role} PASSWORD 'another'")
        data += b"".join(blocks)
    assert data.startswith(b"PGDMP") and answers[0].tables == details.tables


def test_connection_asks_the_settings_again(stage: Stage) -> None:
    """A project may change the password in its settings while it runs."""
    settings = stage.settings()
    with configured(stage.alias, settings):
        engine = PostgresqlEngine(stage.alias, bin_dir=stage.bin_dir, scratch=stage.scratch)
        assert not engine.live.changing
        settings["PASSWORD"] = "wrong"
        for connection in (engine.live, engine.source):
            with pytest.raises(DatabaseError, match="password authentication failed"), connection.open():
                pass
        settings["PASSWORD"] = stage.server.password
        with engine.source.open() as session:
            assert session.dbname == stage.name
        with engine.live.to("postgres").open() as session:
            assert session.dbname == "postgres"
        assert engine.live.changing and engine.live.to("postgres").changing


def test_connection_whose_backend_fails_names_no_secret(stage: Stage) -> None:
    with pytest.raises(DatabaseError, match="'stage' gave no connection parameters: KeyError") as caught:
        stage.engine_with(ENGINE="tests.services.rotating")  # the environment variable is missing
    assert stage.server.password not in str(caught.value)


def test_connection_repr_hides_all_passwords() -> None:
    passwords = iter(["first-secret", "second-secret"])
    connection = Connection(lambda: {"dbname": "x", "password": next(passwords)}, password="set-secret")
    assert connection.current()["password"] == "second-secret" and connection.changing
    for text in (repr(connection), str(connection), connection.where):
        assert "secret" not in text


def test_passfile_is_written_with_the_current_password(tmp_path: Path) -> None:
    passwords = iter(["first", "second"])
    connection = Connection(lambda: {"dbname": "x", "password": next(passwords)})
    with client_access(connection, tmp_path) as access:
        (number,) = access.pass_fds
        assert Path(f"/proc/self/fd/{number}").read_text() == "*:*:*:*:second\n"
