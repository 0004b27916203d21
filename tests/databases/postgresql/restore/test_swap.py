"""Swaps while clients are connected: everything at one instant, or nothing."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psycopg
import pytest

from igny8_backup.databases.postgresql.restore.swap import name_database, swap_databases
from igny8_backup.errors import DatabaseError, UnfinishedError
from igny8_backup.formats.details import SecurityLabel
from tests.databases.relay import HangUp, Relay
from tests.databases.stage import Stage

all_majors = pytest.mark.postgres(15, 16, 18)
OLD, NEW = 200, 201


class Client(threading.Thread):
    """An application that queries in a loop and reconnects; ``answers`` holds the results."""

    def __init__(self, stage: Stage, stop: threading.Event) -> None:
        super().__init__()
        self.stage = stage
        self.stop = stop
        self.answers: list[int] = []
        self.refused = 0

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                with self.stage.server.connect(self.stage.name) as session:
                    while not self.stop.is_set():
                        row = session.execute("SELECT count(*) FROM item").fetchone()
                        self.answers.append(row[0] if row else -1)
            except psycopg.OperationalError:
                self.refused += 1


@contextmanager
def reconnecting_clients(stage: Stage, clients: int = 3) -> Iterator[list[Client]]:
    stop = threading.Event()
    threads = [Client(stage, stop) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        while not all(thread.answers for thread in threads):
            time.sleep(0.01)
        yield threads
        counts = [len(thread.answers) for thread in threads]
        while any(len(t.answers) == n and t.is_alive() for t, n in zip(threads, counts, strict=True)):
            time.sleep(0.01)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def state(stage: Stage) -> list[tuple[object, ...]]:
    return stage.admin(
        "SELECT datname, datconnlimit, datacl::text, shobj_description(oid, 'pg_database')"
        " FROM pg_database WHERE datname = ANY (%s) ORDER BY 1",
        stage.databases(),
    )


@all_majors
def test_swap_shows_clients_the_old_or_the_new_database(stage: Stage) -> None:
    details = stage.make_staging()
    stage.sql("INSERT INTO item (name) VALUES ('new')", database=stage.staging)
    engine, staging, previous = stage.engine, stage.staging, stage.previous
    with reconnecting_clients(stage) as clients:
        engine.swap(staging, previous, details)
    for client in clients:
        assert set(client.answers) == {OLD, NEW}
        assert client.answers == sorted(client.answers)
        assert client.refused
    with reconnecting_clients(stage) as clients:
        engine.swap_back(previous, staging)
    for client in clients:
        assert client.answers == sorted(client.answers, reverse=True)
        assert client.answers[-1] == OLD


@all_majors
def test_swap_keeps_attributes_of_live_name(stage: Stage) -> None:
    reader, writer = stage.make_role("reader"), stage.make_role("writer")
    name, owner = stage.name, stage.server.role
    stage.sql(f"""
        COMMENT ON DATABASE {name} IS 'The shop''s; 税';
        ALTER DATABASE {name} CONNECTION LIMIT 40;
        ALTER DATABASE {name} SET work_mem = '7MB';
        REVOKE ALL ON DATABASE {name} FROM PUBLIC;
        REVOKE CREATE ON DATABASE {name} FROM {owner};
        GRANT CONNECT ON DATABASE {name} TO {reader};
        GRANT CONNECT, CREATE ON DATABASE {name} TO {writer} WITH GRANT OPTION""")
    recorded = stage.plain_dump("--create")
    details = stage.make_staging()
    engine, staging, previous = stage.engine, stage.staging, stage.previous
    old = state(stage)
    engine.swap(staging, previous, details)
    assert stage.plain_dump("--create") == recorded
    comment = stage.admin(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", previous
    )
    assert comment == [(f"igny8_backup: what {name} was before a restore; undo_restore",)]
    engine.swap_back(previous, staging)
    assert stage.plain_dump("--create") == recorded
    assert [row for row in state(stage) if row[0] == name] == [row for row in old if row[0] == name]
    stage.sql(f"REVOKE ALL ON DATABASE {name} FROM {reader}, {writer} CASCADE")
    stage.sql(f'REVOKE ALL ON DATABASE "{staging}" FROM {reader}, {writer} CASCADE')


def test_swap_keeps_default_privileges(stage: Stage) -> None:
    recorded = stage.plain_dump("--create")
    details = stage.make_staging()
    assert details.privileges is None
    stage.engine.swap(stage.staging, stage.previous, details)
    assert stage.plain_dump("--create") == recorded


def test_swap_without_live_database_applies_recorded_attributes(stage: Stage) -> None:
    reader = stage.make_role("reader")
    name = stage.name
    stage.sql(f"COMMENT ON DATABASE {name} IS 'recorded'; ALTER DATABASE {name} CONNECTION LIMIT 41;"
              f" REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC;"
              f" GRANT CONNECT ON DATABASE {name} TO {reader}")  # fmt: skip
    recorded = stage.plain_dump("--create")
    details = stage.make_staging()
    stage.server.drop_database(name)
    stage.engine.swap(stage.staging, stage.previous, details)
    assert stage.plain_dump("--create") == recorded
    stage.sql(f"REVOKE ALL ON DATABASE {name} FROM {reader}")


def test_swap_with_protected_sessions_changes_nothing(stage: Stage) -> None:
    details = stage.make_staging()
    old = state(stage)
    with stage.server.connect(stage.name, superuser=True) as session:
        assert stage.engine.blockers(stage.part(), details) == [
            "The live database has sessions of postgres, which this role may not end: end them."
        ]
        with pytest.raises(DatabaseError, match="It has sessions of postgres.*The database was not changed"):
            stage.engine.swap(stage.staging, stage.previous, details)
        assert session.execute("SELECT count(*) FROM item").fetchone() == (OLD,)
    assert state(stage) == old
    with (
        stage.server.connect(stage.staging, superuser=True),
        pytest.raises(DatabaseError, match="It has sessions of postgres.*The database was not changed"),
    ):
        stage.engine.drop(stage.staging)
    stage.engine.swap(stage.staging, stage.previous, details)


def test_swap_waits_for_slow_session(stage: Stage) -> None:
    """A rename waits five seconds and is repeated, because hours of loading may precede it."""
    details = stage.make_staging()
    with stage.server.connect(stage.name) as session:
        pid = session.info.backend_pid
        os.kill(pid, signal.SIGSTOP)
        timer = threading.Timer(5.5, os.kill, (pid, signal.SIGCONT))
        timer.start()
        stage.engine.swap(stage.staging, stage.previous, details)
        timer.join()
    assert stage.databases() == [stage.name, stage.previous]


def test_swap_with_existing_previous_name_changes_nothing(stage: Stage) -> None:
    details = stage.make_staging()
    stage.server.create_database(stage.previous)
    old = state(stage)
    with pytest.raises(DatabaseError, match="already exists"):
        stage.engine.swap(stage.staging, stage.previous, details)
    assert state(stage) == old


def test_name_database_with_existing_name_changes_nothing(stage: Stage) -> None:
    details = stage.make_staging()
    old = state(stage)
    with stage.server.connect(stage.name) as session:
        with pytest.raises(DatabaseError, match="already exists"):
            name_database(stage.engine.live, stage.staging, details)
        assert session.execute("SELECT 1").fetchone() == (1,), "sessions of the other database stay"
    assert state(stage) == old


class LostCommit:
    """Filters that drop the answer to COMMIT, and with ``for_good`` every later connection."""

    def __init__(self, *, for_good: bool) -> None:
        self.for_good = for_good
        self.committing = False
        self.lost = False

    def from_client(self, data: bytes) -> bytes:
        if self.lost and self.for_good:
            raise HangUp
        if b"COMMIT" in data:
            self.committing = True
        return data

    def from_server(self, data: bytes) -> bytes:
        if self.committing and not self.lost and b"COMMIT" in data:
            self.lost = True
            raise HangUp
        return data


def test_swap_with_lost_commit_answer_detects_commit(stage: Stage) -> None:
    details = stage.make_staging()
    lost_commit = LostCommit(for_good=False)
    server = (stage.server.host, stage.server.port)
    with Relay(
        "127.0.0.1", server, from_client=lost_commit.from_client, from_server=lost_commit.from_server
    ) as relay:
        live = stage.engine_with(PORT=str(relay.port)).live
        swap_databases(live, stage.staging, stage.previous, details)
    assert lost_commit.lost
    assert stage.databases() == [stage.name, stage.previous]


def test_swap_with_lost_connection_raises_unfinished(stage: Stage) -> None:
    details = stage.make_staging()
    lost_commit = LostCommit(for_good=True)
    server = (stage.server.host, stage.server.port)
    with Relay(
        "127.0.0.1", server, from_client=lost_commit.from_client, from_server=lost_commit.from_server
    ) as relay:
        live = stage.engine_with(PORT=str(relay.port)).live
        with pytest.raises(UnfinishedError, match="connection to the server was lost"):
            swap_databases(live, stage.staging, stage.previous, details)
    assert stage.databases() == [stage.name, stage.previous]


def templates(stage: Stage) -> set[str]:
    return {name for (name,) in stage.admin("SELECT datname FROM pg_database WHERE datistemplate")}


def test_swap_moves_the_template_flag_with_the_live_name(stage: Stage) -> None:
    """A template cannot be dropped, so the database that is set aside is none."""
    stage.admin(f"ALTER DATABASE {stage.name} IS_TEMPLATE true")
    try:
        details = stage.make_staging()
        assert details.is_template and stage.staging not in templates(stage)
        stage.engine.swap(stage.staging, stage.previous, details)
        assert stage.name in templates(stage) and stage.previous not in templates(stage)
        stage.engine.swap_back(stage.previous, stage.staging)
        assert stage.name in templates(stage) and stage.staging not in templates(stage)
        stage.engine.drop(stage.staging)
        stage.admin(f"ALTER DATABASE {stage.name} IS_TEMPLATE false")
        stage.server.drop_database(stage.name)
        stage.engine.create_staging(stage.staging, details)
        stage.engine.swap(stage.staging, stage.previous, details)
        assert stage.name in templates(stage)
    finally:
        stage.admin(f"ALTER DATABASE {stage.name} IS_TEMPLATE false")


def test_security_labels_are_recorded_and_a_missing_provider_is_named(stage: Stage) -> None:
    oid = f"(SELECT oid FROM pg_database WHERE datname = '{stage.name}')"
    insert = f"SELECT {oid}, 'pg_database'::regclass, 'no_provider', 'secret'"
    with stage.server.connect(superuser=True) as session:
        session.execute("SET allow_system_table_mods TO on")
        session.execute(f"INSERT INTO pg_shseclabel (objoid, classoid, provider, label) {insert}".encode())
    details = stage.engine.describe(())
    assert details.security_labels == (SecurityLabel(provider="no_provider", label="secret"),)
    stage.engine.create_staging(stage.staging, details)
    with pytest.raises(DatabaseError, match=r"no_provider.* is not loaded.* SECURITY LABEL ON DATABASE"):
        stage.engine.copy_labels(stage.staging, details)
    stage.server.drop_database(stage.name)
    with pytest.raises(DatabaseError, match=r"no_provider.* is not loaded"):
        stage.engine.copy_labels(stage.staging, details)
    stage.engine.copy_labels(stage.staging, replace(details, security_labels=()))
