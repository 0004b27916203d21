"""Connections from Django's settings, and the errors of their sessions."""

from __future__ import annotations

from pathlib import Path

import pytest
from demo.server import PostgresServer

from igny8_backup.conf import ConfigurationError
from igny8_backup.databases.postgresql.connections.configured import live_connection, source_connection
from igny8_backup.databases.postgresql.connections.connection import Connection
from igny8_backup.errors import DatabaseError
from tests.databases.stage import Stage, configured

PASSWORD = "se:cr\\et pässword 密"


def settings_of(**changed: object) -> dict[str, object]:
    base = {"ENGINE": "django.db.backends.postgresql", "NAME": "shop", "USER": "web", "PASSWORD": PASSWORD}
    return {**base, "HOST": "db.example", "PORT": "5433", **changed}


def test_connection_repr_and_where_hide_password() -> None:
    with configured("shop", settings_of()):
        connection = live_connection("shop")
    assert connection.params["password"] == PASSWORD
    for text in (repr(connection), str(connection), connection.where, repr(connection.to("other"))):
        assert "ssword" not in text
    assert connection.where == "web@db.example:5433/shop"


def test_connection_where_formats_address() -> None:
    assert Connection({"host": "::1", "port": 5432, "dbname": "a"}).where == "default user@[::1]:5432/a"
    assert Connection({"dbname": "a b", "user": "u"}).where == "u@local socket/a b"
    assert Connection({"service": "s", "dbname": "a"}).where == "default user@local socket/a (service s)"


def test_source_connection_merges_partial_override(monkeypatch: pytest.MonkeyPatch) -> None:
    override = {"HOST": "replica.example", "USER": "backup", "OPTIONS": {"target_session_attrs": "any"}}
    monkeypatch.setattr("dbbackup.settings.CONNECTORS", {"shop": override})
    own = settings_of(OPTIONS={"sslmode": "verify-full", "assume_role": "owner"})
    with configured("shop", own):
        source, live = source_connection("shop"), live_connection("shop")
    assert source.where == "backup@replica.example:5433/shop"
    assert source.params["sslmode"] == "verify-full"
    assert source.params["target_session_attrs"] == "any"
    assert source.role == live.role == "owner"
    assert live.where == "web@db.example:5433/shop"
    assert "target_session_attrs" not in live.params


def test_source_connection_with_wrong_connector_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    for connector in ("nowhere.Connector", "nothing", "os.nothing"):
        monkeypatch.setattr("dbbackup.settings.CONNECTORS", {"shop": {"CONNECTOR": connector}})
        with (
            configured("shop", settings_of()),
            pytest.raises(ConfigurationError, match="DBBACKUP_CONNECTORS"),
        ):
            source_connection("shop")


def test_live_connection_with_invalid_name_raises() -> None:
    for name in ("", "n" * 64, "ä" * 40):
        with configured("shop", settings_of(NAME=name)), pytest.raises(ConfigurationError):
            live_connection("shop")


def test_live_connection_keeps_only_libpq_options() -> None:
    options = {"isolation_level": 1, "server_side_binding": True, "pool": False, "connect_timeout": 3}
    with configured("shop", settings_of(OPTIONS=options)):
        params = live_connection("shop").params
    assert params["connect_timeout"] == "3"
    assert not {"isolation_level", "server_side_binding", "pool", "cursor_factory", "context"} & params.keys()


@pytest.fixture
def service_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "pg_service.conf"
    monkeypatch.setenv("PGSERVICEFILE", str(path))
    return path


def test_connection_name_comes_from_service_file(pg: PostgresServer, service_file: Path) -> None:
    lines = ["[shop]", f"host={pg.host}", f"port={pg.port}", f"user={pg.role}", "dbname=not there yet"]
    service_file.write_text("\n".join(lines))
    own = settings_of(NAME="", USER="", HOST="", PORT="", PASSWORD=pg.password, OPTIONS={"service": "shop"})
    with configured("shop", own):
        connection = live_connection("shop")
    assert connection.name == "not there yet"
    with connection.maintenance() as session:
        assert session.dbname == "postgres"


def test_connection_name_of_unknown_service_raises(service_file: Path) -> None:
    service_file.write_text("[other]\ndbname=x\n")
    with pytest.raises(DatabaseError, match='definition of service "shop" not found'):
        _ = Connection({"service": "shop"}, alias="shop").name


def test_open_without_server_raises_with_hint(tmp_path: Path) -> None:
    settings = settings_of(HOST=str(tmp_path), PORT="5432")
    with configured("shop", settings):
        connection = live_connection("shop")
    raises = pytest.raises(DatabaseError, match="No connection to web@.*dbshell --database shop")
    with raises as caught, connection.open():
        pass
    assert "ssword" not in str(caught.value)
    with pytest.raises(DatabaseError, match="No connection"), connection.maintenance():
        pass


def test_open_with_invalid_port_raises() -> None:
    connection = Connection({"host": "localhost", "port": "many", "dbname": "x"}, alias="shop")
    with pytest.raises(DatabaseError, match="No connection"), connection.open():
        pass


def test_open_removes_time_limits(stage: Stage) -> None:
    limits = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]
    limits += ["idle_session_timeout", "transaction_timeout"]
    for limit in limits:
        stage.sql(f"ALTER ROLE CURRENT_USER IN DATABASE {stage.name} SET {limit} = '7s'")
    with stage.engine.live.open() as session:
        for limit in limits:
            assert session.execute(f"SHOW {limit}").fetchone() == ("0",)


def test_open_session_ended_by_server_raises(stage: Stage) -> None:
    for opened in (stage.engine.live.open, stage.engine.live.maintenance):
        with pytest.raises(DatabaseError, match="reported an error"), opened() as session:
            stage.admin("SELECT pg_terminate_backend(%s)", session.backend_pid)
            session.execute("SELECT 1")
        with opened() as session:  # an unused session that was ended raises nothing
            stage.admin("SELECT pg_terminate_backend(%s)", session.backend_pid)


def test_open_passes_other_exceptions_on(stage: Stage) -> None:
    with pytest.raises(ZeroDivisionError), stage.engine.live.open():
        _ = 1 / 0


def test_maintenance_uses_another_database(pg: PostgresServer) -> None:
    facts = {"host": pg.host, "port": pg.port, "user": pg.role, "password": pg.password}
    with Connection({**facts, "dbname": "postgres"}).maintenance() as session:
        assert session.dbname == "template1"
    with Connection({**facts, "dbname": "shop"}).maintenance() as session:
        assert session.dbname == "postgres"


def test_open_assumes_role(stage: Stage) -> None:
    stage.make_role("login", "LOGIN")
    stage.make_role("owner", "NOLOGIN")
    login, owner = stage.roles
    stage.admin(f"GRANT {owner} TO {login}")
    engine = stage.engine_with(USER=login, OPTIONS={"assume_role": owner})
    with engine.live.open() as session:
        assert session.execute("SELECT current_user::text").fetchone() == (owner,)
    wrong = stage.engine_with(USER=login, OPTIONS={"assume_role": "postgres"})
    with pytest.raises(DatabaseError, match="reported an error"), wrong.live.open():
        pass


def test_open_keeps_options_encoding_and_autocommit(stage: Stage) -> None:
    with stage.engine_with(OPTIONS={"options": "-c work_mem=5MB"}).live.open() as session:
        assert session.execute("SHOW work_mem").fetchone() == ("5MB",)
        assert session.execute("SHOW client_encoding").fetchone() == ("UTF8",)
        assert not session.in_transaction, "it is in autocommit mode"
