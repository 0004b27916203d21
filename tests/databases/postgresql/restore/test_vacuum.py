"""What sanitizing needs around it: triggers off and on again, nothing old in any file, no old statistics."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from demo.server import PostgresServer

from igny8_backup.databases.postgresql.restore import vacuum
from igny8_backup.errors import DatabaseError
from tests.databases.stage import Stage

CANARY = "canary-77b1"
SCHEMA = f"""
    CREATE TABLE emptied (name text COLLATE "C", kind varchar(20), n int GENERATED ALWAYS AS IDENTITY);
    INSERT INTO emptied (name, kind) SELECT '{CANARY}', '{CANARY}' FROM generate_series(1, 200);
    CREATE INDEX ON emptied (name);
    CREATE STATISTICS names (mcv) ON name, kind FROM emptied;
    CREATE FUNCTION quiet() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''it fired''; END';
    CREATE TABLE parent (id int, at date) PARTITION BY RANGE (at);
    CREATE TABLE child PARTITION OF parent DEFAULT;
    CREATE TRIGGER of_all BEFORE INSERT ON parent FOR EACH ROW EXECUTE FUNCTION quiet();
    CREATE TRIGGER "Of a Child" AFTER UPDATE ON child FOR EACH STATEMENT EXECUTE FUNCTION quiet();
    CREATE TRIGGER off BEFORE DELETE ON parent FOR EACH ROW EXECUTE FUNCTION quiet();
    ALTER TABLE parent DISABLE TRIGGER off;
    ALTER TABLE ONLY child ENABLE TRIGGER off;
    ALTER TABLE child ENABLE REPLICA TRIGGER "Of a Child";
    ALTER TABLE ONLY parent ENABLE ALWAYS TRIGGER of_all;
"""
FIRED = "INSERT INTO parent VALUES (1, '2026-11-22')"


@pytest.fixture
def stage(pg: PostgresServer, make_stage: Callable[..., Stage]) -> Stage:
    made = make_stage(pg)
    made.create(SCHEMA)
    return made


@pytest.mark.postgres(15, 18)
def test_triggers_disabled_restores_each_state(stage: Stage) -> None:
    states = "SELECT tgrelid::regclass::text, tgname, tgenabled FROM pg_trigger ORDER BY 1, 2"
    before = stage.sql(states)
    assert {state for *_, state in before} == {"O", "D", "A", "R"}
    with vacuum.triggers_disabled(stage.engine.live):
        stage.sql(FIRED)
        assert {state for *_, state in stage.sql(states)} == {"D"}
    assert stage.sql(states) == before


@pytest.mark.postgres(15, 18)
def test_rewrite_drops_statistics_of_emptied_table(stage: Stage) -> None:
    stage.sql("ANALYZE")
    stage.sql("TRUNCATE emptied")
    dump = stage.plain_dump()
    assert of_files(stage), "the statistics hold the value"
    vacuum.rewrite(stage.engine.live)
    assert of_files(stage) == []
    assert stage.plain_dump() == dump


@pytest.mark.postgres(18)
def test_rewrite_reports_statistics_it_cannot_drop(stage: Stage) -> None:
    stage.sql("CREATE VIEW reader AS SELECT name FROM emptied; ANALYZE emptied; TRUNCATE emptied")
    with pytest.raises(
        DatabaseError, match="emptied.* statistics of its column name .*leave one row in the table"
    ):
        vacuum.rewrite(stage.engine.live)


def of_files(stage: Stage) -> list[str]:
    """List the files of the database that contain the canary."""
    stage.sql("CHECKPOINT", superuser=True)
    ((oid,),) = stage.sql("SELECT oid FROM pg_database WHERE datname = current_database()")
    folder = stage.server.data / "base" / str(oid)
    found = []
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # the server creates and removes files meanwhile
            found += [path.name] if CANARY.encode() in path.read_bytes() else []
    return sorted(found)
