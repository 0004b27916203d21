"""Probes and row counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from threading import Event

import pytest
from demo.server import PostgresServer

from igny8_backup.databases.postgresql.engine import PostgresqlEngine
from igny8_backup.databases.postgresql.probes import MOST_ROWS, ask
from igny8_backup.databases.values import Answers
from igny8_backup.errors import DatabaseError, ToolError
from tests.databases.stage import Stage, ask_during_dump
from tests.services.postgres import open_session

SUM = {"items": "SELECT count(*), sum(id) FROM item;"}


def rows(engine: PostgresqlEngine, query: str) -> tuple[tuple[str | None, ...], ...]:
    found = ask_during_dump(engine, {"it": query})
    assert not found.failed and not found.denied
    return found.probes[0].rows


def test_ask_reports_probes_that_cannot_be_compared(stage: Stage) -> None:
    engine = stage.engine
    assert rows(engine, "VALUES (2, NULL), (1, 'b'), (1, 'a')") == (("1", "a"), ("1", "b"), ("2", None))
    assert rows(engine, "SELECT timestamptz '2026-01-31 12:00+02', date '2026-01-31'") == (
        ("2026-01-31 10:00:00+00", "2026-01-31"),
    )
    assert rows(engine, "SELECT FROM item WHERE false") == ()
    refused = {
        "float": "SELECT avg(id)::float8 AS mean FROM item",
        "floats": "SELECT ARRAY[1.5::float4]",
        "many": f"SELECT generate_series(0, {MOST_ROWS})",
        "two": "SELECT 1; DELETE FROM part",
        "writing": "DELETE FROM part RETURNING 1",
        "hidden": "WITH gone AS (DELETE FROM part RETURNING 1) SELECT count(*) FROM gone",
        "nonsense": "SELECT FROM nowhere",
        "volatile": "SELECT nextval('item_id_seq')",
    }
    found = ask_during_dump(engine, {**refused, **SUM})
    assert found.failed.keys() == refused.keys()
    assert [probe.name for probe in found.probes] == ["items"], "a failing probe does not affect the others"
    assert "'mean' is a float" in found.failed["float"]
    assert f"more than {MOST_ROWS} rows" in found.failed["many"]
    assert stage.sql("SELECT count(*) FROM part") == [(100,)]


def test_ask_counts_tables_with_rows_of_their_own(stage: Stage) -> None:
    stage.sql(
        "CREATE TABLE log (day int) PARTITION BY LIST (day);"
        " CREATE TABLE log_1 PARTITION OF log FOR VALUES IN (1); INSERT INTO log VALUES (1), (1);"
        " CREATE TABLE heir () INHERITS (part); INSERT INTO heir VALUES (1000, 1);"
        " CREATE MATERIALIZED VIEW seen AS SELECT 1; CREATE VIEW shown AS SELECT 1"
    )
    found = ask_during_dump(stage.engine, {}, ("item", "part"))
    assert found.row_counts == {"public.log_1": 2}, (
        "excluded tables are not counted, nor the tables that inherit from them"
    )
    found = ask_during_dump(stage.engine, {})
    assert found.row_counts == {
        "public.heir": 1, "public.item": 200, "public.log_1": 2, "public.part": 100,
    }  # fmt: skip


def test_ask_stops_counting_at_limit(stage: Stage) -> None:
    with open_session(stage.server, stage.name) as session, session.transaction():
        counts = ask(session, ["public.item", "public.part"], {}, counted_to=100).row_counts
    assert counts == {"public.item": 101, "public.part": 100}


def test_answers_of_restricted_role_omit_unreadable_tables(stage: Stage) -> None:
    """After a restore, tables may belong to roles whose privileges the restoring role lacks."""
    role = stage.make_role("half", "LOGIN")
    stage.sql(f'GRANT SELECT ON part TO "{role}"')
    details = stage.engine.describe(())
    asked = ask_during_dump(stage.engine, {**SUM, "parts": "SELECT count(*) FROM part"})
    details = replace(details, row_counts=asked.row_counts, counted_to=1000, probes=asked.probes)
    found = stage.engine_with(USER=role).answers(stage.name, details)
    assert found.row_counts == {"public.part": 100} and found.denied == ("items",)
    assert [probe.name for probe in found.probes] == ["parts"] and not found.failed


def test_ask_counts_more_tables_than_the_lock_table_holds(
    cramped: PostgresServer, make_stage: Callable[..., Stage]
) -> None:
    stage = make_stage(cramped)
    stage.create("SELECT")
    columns = "a int, b int, c int, d int"
    for number in range(150):
        indexes = "".join(f"CREATE INDEX ON t{number} ({column});" for column in "abcd")
        stage.sql(f"CREATE TABLE t{number} ({columns}); {indexes}")
    asked = ask_during_dump(stage.engine, {})
    assert len(asked.row_counts) == 150 and asked.uncounted == {}
    details = replace(stage.engine.describe(()), row_counts=asked.row_counts, counted_to=10)
    assert stage.engine.answers(stage.name, details).uncounted == {}


def test_ask_table_that_cannot_be_counted_is_named(stage: Stage) -> None:
    """A table whose file is damaged, for example, does not prevent counting the others."""
    with open_session(stage.server, stage.name) as session, session.transaction():
        found = ask(session, ["public.gone", "public.item"], {})
    assert found.row_counts == {"public.item": 200}
    assert "does not exist" in found.uncounted["public.gone"]


def test_ask_probe_failing_for_a_cause_outside_is_unasked(stage: Stage) -> None:
    stage.sql(
        "CREATE FUNCTION cancelled() RETURNS int STABLE LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'stopped' USING ERRCODE = 'query_canceled'; END $$"
    )
    found = ask_during_dump(stage.engine, {"outside": "SELECT cancelled()", "wrong": "SELECT nothing"})
    assert found.unasked.keys() == {"outside"} and found.failed.keys() == {"wrong"}


def test_dump_whose_questions_fail_continues(stage: Stage) -> None:
    """The role may open one session, which exports the snapshot."""
    role = stage.make_role("one", "LOGIN CONNECTION LIMIT 1 IN ROLE pg_read_all_data")
    details = stage.engine.describe(())  # by the owner: a session of the role might end too late
    engine = stage.engine_with(USER=role)
    answers: list[Answers] = []
    with pytest.raises(ToolError, match="too many connections for role"):  # pg_dump needs the second
        list(engine.dump(details, SUM, answers.append))
    (found,) = answers
    assert found.tables == ("public.item", "public.part") and found.row_counts == {}
    assert "too many connections for role" in found.uncounted["public.item"]
    assert found.unasked.keys() == SUM.keys()


def test_watch_over_a_dump_leaves_it_the_last_session(stage: Stage) -> None:
    """Three sessions are enough for a backup: that of the lock, the exporter and ``pg_dump``."""
    role = stage.make_role("three", "LOGIN CONNECTION LIMIT 3 IN ROLE pg_read_all_data")
    engine = stage.engine_with(USER=role)
    with pytest.raises(DatabaseError, match="may open 3 sessions .* 4 are needed"):
        engine.waiting_sessions(60, Event())
