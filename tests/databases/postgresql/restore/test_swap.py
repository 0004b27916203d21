"""The swap, while applications do what they do: all of it at one instant, or nothing."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from igny8_backup.databases.postgresql.restore.swap import name_database, swap_databases
from igny8_backup.errors import DatabaseError, UnfinishedError
from tests.databases.relay import HangUp, Relay
from tests.databases.stage import Stage

all_majors = pytest.mark.postgres(15, 16, 18)
OLD, NEW = 200, 201


class Client(threading.Thread):
    """An application: connects, asks, keeps asking, connects again. ``answers`` holds what it was told."""

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
def hammering(stage: Stage, clients: int = 3) -> Iterator[list[Client]]:
    stop = threading.Event()
    threads = [Client(stage, stop) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        while not all(thread.answers for thread in threads):
            time.sleep(0.01)
        yield threads
        told = [len(thread.answers) for thread in threads]
        while any(len(t.answers) == n and t.is_alive() for t, n in zip(threads, told, strict=True)):
            time.sleep(0.01)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def state(stage: Stage) -> list[tuple[object, ...]]:
    return stage.admin(
        "SELECT datname, datconnlimit, datacl::text, shobj_description(oid, 'pg_database')"
        " FROM pg_database WHERE datname = ANY (%s) ORDER BY 1",
        stage.names(),
    )


@all_majors
def test_reconnecting_clients_see_the_old_database_or_the_whole_new_one(stage: Stage) -> None:
    details = stage.make_side()
    stage.sql("INSERT INTO item (name) VALUES ('new')", database=stage.aside("side"))
    engine, side, before = stage.engine, stage.aside("side"), stage.aside("before")
    with hammering(stage) as clients:
        engine.swap(side, before, details)
    for client in clients:
        assert set(client.answers) == {OLD, NEW}
        assert client.answers == sorted(client.answers)
        assert client.refused
    with hammering(stage) as clients:
        engine.swap_back(before, side)
    for client in clients:
        assert client.answers == sorted(client.answers, reverse=True)
        assert client.answers[-1] == OLD


@all_majors
def test_what_lies_on_the_live_database_goes_with_the_name(stage: Stage) -> None:
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
    details = stage.make_side()
    engine, side, before = stage.engine, stage.aside("side"), stage.aside("before")
    old = state(stage)
    engine.swap(side, before, details)
    assert stage.plain_dump("--create") == recorded
    comment = stage.admin(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", before
    )
    assert comment == [(f"igny8_backup: what {name} was before a restore; undo_restore",)]
    engine.swap_back(before, side)
    assert stage.plain_dump("--create") == recorded
    assert [row for row in state(stage) if row[0] == name] == [row for row in old if row[0] == name]
    stage.sql(f"REVOKE ALL ON DATABASE {name} FROM {reader}, {writer} CASCADE")
    stage.sql(f'REVOKE ALL ON DATABASE "{side}" FROM {reader}, {writer} CASCADE')


def test_default_privileges_stay_as_good_as_the_default(stage: Stage) -> None:
    recorded = stage.plain_dump("--create")
    details = stage.make_side()
    assert details.privileges is None
    stage.engine.swap(stage.aside("side"), stage.aside("before"), details)
    assert stage.plain_dump("--create") == recorded


def test_where_nothing_is_live_what_is_recorded_is_given(stage: Stage) -> None:
    reader = stage.make_role("reader")
    name = stage.name
    stage.sql(f"COMMENT ON DATABASE {name} IS 'recorded'; ALTER DATABASE {name} CONNECTION LIMIT 41;"
              f" REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC;"
              f" GRANT CONNECT ON DATABASE {name} TO {reader}")  # fmt: skip
    recorded = stage.plain_dump("--create")
    details = stage.make_side()
    stage.server.drop_database(name)
    stage.engine.swap(stage.aside("side"), stage.aside("before"), details)
    assert stage.plain_dump("--create") == recorded
    stage.sql(f"REVOKE ALL ON DATABASE {name} FROM {reader}")


def test_sessions_that_may_not_be_ended_stop_the_swap_and_nothing_is_changed(stage: Stage) -> None:
    details = stage.make_side()
    old = state(stage)
    with stage.server.connect(stage.name, superuser=True) as session:
        assert stage.engine.blockers(stage.part(), details) == [
            "The live database has sessions of postgres, which this role may not end: end them."
        ]
        with pytest.raises(DatabaseError, match="It has sessions of postgres.*It was not changed"):
            stage.engine.swap(stage.aside("side"), stage.aside("before"), details)
        assert session.execute("SELECT count(*) FROM item").fetchone() == (OLD,)
    assert state(stage) == old
    with (
        stage.server.connect(stage.aside("side"), superuser=True),
        pytest.raises(DatabaseError, match="It has sessions of postgres.*It was not changed"),
    ):
        stage.engine.drop(stage.aside("side"))
    stage.engine.swap(stage.aside("side"), stage.aside("before"), details)


def test_a_session_that_takes_long_to_end_is_waited_for(stage: Stage) -> None:
    """A rename waits five seconds, and is tried again: hours of loading may lie behind it."""
    details = stage.make_side()
    with stage.server.connect(stage.name) as session:
        pid = session.info.backend_pid
        os.kill(pid, signal.SIGSTOP)
        timer = threading.Timer(5.5, os.kill, (pid, signal.SIGCONT))
        timer.start()
        stage.engine.swap(stage.aside("side"), stage.aside("before"), details)
        timer.join()
    assert stage.names() == [stage.name, stage.aside("before")]


def test_a_name_that_is_taken_stops_the_swap_and_nothing_is_changed(stage: Stage) -> None:
    details = stage.make_side()
    stage.server.create_database(stage.aside("before"))
    old = state(stage)
    with pytest.raises(DatabaseError, match="already exists"):
        stage.engine.swap(stage.aside("side"), stage.aside("before"), details)
    assert state(stage) == old


def test_a_name_that_is_taken_meanwhile_is_not_taken_over(stage: Stage) -> None:
    details = stage.make_side()
    old = state(stage)
    with stage.server.connect(stage.name) as session:
        with pytest.raises(DatabaseError, match="already exists"):
            name_database(stage.engine.live, stage.aside("side"), details)
        assert session.execute("SELECT 1").fetchone() == (1,), "its sessions are left alone"
    assert state(stage) == old


class NullProgress:
    """A server that commits and does not say so; with ``for_good`` it then says nothing any more."""

    def __init__(self, *, for_good: bool) -> None:
        self.for_good = for_good
        self.committing = False
        self.silent = False

    def asking(self, data: bytes) -> bytes:
        if self.silent and self.for_good:
            raise HangUp
        if b"COMMIT" in data:
            self.committing = True
        return data

    def answering(self, data: bytes) -> bytes:
        if self.committing and not self.silent and b"COMMIT" in data:
            self.silent = True
            raise HangUp
        return data


def test_a_commit_whose_answer_is_lost_is_found_out(stage: Stage) -> None:
    details = stage.make_side()
    silence = NullProgress(for_good=False)
    server = (stage.server.host, stage.server.port)
    with Relay("127.0.0.1", server, asking=silence.asking, answering=silence.answering) as relay:
        live = stage.engine_with(PORT=str(relay.port)).live
        swap_databases(live, stage.aside("side"), stage.aside("before"), details)
    assert silence.silent
    assert stage.names() == [stage.name, stage.aside("before")]


def test_a_server_that_falls_silent_at_the_commit_leaves_a_restore_that_can_go_on(stage: Stage) -> None:
    details = stage.make_side()
    silence = NullProgress(for_good=True)
    server = (stage.server.host, stage.server.port)
    with Relay("127.0.0.1", server, asking=silence.asking, answering=silence.answering) as relay:
        live = stage.engine_with(PORT=str(relay.port)).live
        with pytest.raises(UnfinishedError, match="connection to the server was lost"):
            swap_databases(live, stage.aside("side"), stage.aside("before"), details)
    assert stage.names() == [stage.name, stage.aside("before")]
