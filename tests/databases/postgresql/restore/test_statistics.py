"""Statistics after a load: one failing table does not affect the others; foreign tables stay untouched."""

from __future__ import annotations

import pytest

from tests.databases.stage import Stage

both_ends = pytest.mark.postgres(15, 18)

# Reading a table of this wrapper, which has no handler, fails as an unreachable server would.
FOREIGN = """
    CREATE FOREIGN DATA WRAPPER nothing;
    CREATE SERVER far FOREIGN DATA WRAPPER nothing;
    CREATE TABLE log (day int, text text) PARTITION BY RANGE (day);
    CREATE TABLE log_new PARTITION OF log FOR VALUES FROM (10) TO (20);
    CREATE FOREIGN TABLE log_old PARTITION OF log FOR VALUES FROM (0) TO (10) SERVER far;
    INSERT INTO log SELECT 15, 'x' FROM generate_series(1, 50);
    CREATE TABLE parent (id int);
    CREATE FOREIGN TABLE child (id int) INHERITS (parent) SERVER far;
    INSERT INTO parent SELECT generate_series(1, 50);"""

BROKEN = """
    CREATE FUNCTION broken(bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS
        $$ BEGIN IF $1 > 5 THEN RAISE EXCEPTION 'no % here', $1; END IF; RETURN $1; END $$;
    CREATE STATISTICS of_broken ON (broken(id)), name FROM item;"""

ANALYZED = """
    SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
      AND EXISTS (SELECT FROM pg_stats WHERE schemaname = 'public' AND tablename = c.relname) ORDER BY 1"""


@both_ends
def test_analyze_foreign_partitions_and_children_are_not_touched(stage: Stage) -> None:
    stage.sql(FOREIGN, superuser=True)
    stage.role = "postgres"
    assert stage.engine.analyze(stage.name) == {}
    assert [name for (name,) in stage.sql(ANALYZED, superuser=True)] == ["item", "log_new", "part"]


@both_ends
def test_analyze_statistics_that_call_a_failing_function_are_named(stage: Stage) -> None:
    stage.sql(BROKEN)
    failed = stage.engine.analyze(stage.name)
    assert failed.keys() == {"public.item"}
    assert failed["public.item"].startswith("no 6 here")
    assert [name for (name,) in stage.sql(ANALYZED)] == ["part"]


@both_ends
def test_analyze_failing_index_expression_is_named(stage: Stage) -> None:
    stage.sql(
        "CREATE FUNCTION half(bigint) RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT $1 / 2';"
        " CREATE INDEX ON part (half(item_id)); CREATE OR REPLACE FUNCTION half(bigint) RETURNS bigint"
        " IMMUTABLE LANGUAGE sql AS 'SELECT $1 / 0'"
    )
    assert stage.engine.analyze(stage.name).keys() == {"public.part"}
    assert [name for (name,) in stage.sql(ANALYZED)] == ["item"]
