"""Loads with several jobs restore everything, in an order that changes no row."""

from __future__ import annotations

import os

import pytest

from igny8_backup.databases.postgresql.roles.limits import SMALL_BYTES
from tests.databases.stage import Stage, blocks_of

SCHEMA = """
    CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'it fired'; END $$;
    CREATE DOMAIN known AS text CHECK (VALUE <> '');
    CREATE COLLATION plain FROM "C";
    CREATE TABLE item (id bigint PRIMARY KEY, name text UNIQUE DEFERRABLE, at daterange, other int NOT NULL,
                       EXCLUDE USING gist (at WITH &&));
    CREATE INDEX lowered ON item (lower(name)) WHERE other > 0;
    CREATE UNIQUE INDEX replicated ON item (other);
    CREATE INDEX collated ON item (name COLLATE plain);
    CREATE INDEX of_a_domain ON item ((name::known));
    ALTER TABLE item REPLICA IDENTITY USING INDEX replicated, CLUSTER ON replicated,
        ADD CONSTRAINT hoped CHECK (other > 5) NOT VALID;
    COMMENT ON INDEX lowered IS 'of names';
    COMMENT ON CONSTRAINT item_pkey ON item IS 'of items';
    COMMENT ON TABLE item IS 'with rows';
    CREATE STATISTICS both_of ON name, other FROM item;
    CREATE TABLE label (id bigint PRIMARY KEY, item_id bigint REFERENCES item);
    CREATE FUNCTION named(bigint) RETURNS text LANGUAGE sql IMMUTABLE
        AS 'SELECT max(name) FROM public.item WHERE id = $1';
    CREATE INDEX by_name ON label (named(item_id));
    ALTER TABLE label ADD CONSTRAINT "odd PRIMARY KEY (""x" EXCLUDE USING btree (named(item_id) WITH =);
    ALTER TABLE label ADD CONSTRAINT odd UNIQUE (item_id);
    CREATE TABLE log (id bigint, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
    CREATE INDEX days ON log (day);
    CREATE TABLE log_2025 PARTITION OF log FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
    CREATE TABLE log_2026 PARTITION OF log FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    CREATE VIEW grouped AS SELECT id, name, count(*) FROM item GROUP BY id;
    CREATE FUNCTION grouped() RETURNS SETOF bigint LANGUAGE sql
        BEGIN ATOMIC SELECT count(name) + other FROM item GROUP BY id; END;
    CREATE MATERIALIZED VIEW kept AS SELECT id, name FROM item;
    CREATE UNIQUE INDEX ON kept (id);
    CREATE MATERIALIZED VIEW late AS SELECT id, name, count(*) FROM item GROUP BY id;
    CREATE INDEX ON late (name);
    CREATE RULE nothing AS ON DELETE TO label DO INSTEAD NOTHING;
    CREATE POLICY everything ON label USING (true);
    ALTER TABLE label ENABLE ROW LEVEL SECURITY;
    CREATE PUBLICATION {publication} FOR TABLE item;
    INSERT INTO item SELECT n, 'item ' || n, daterange('2000-01-01'::date + n, '2000-01-02'::date + n), n
        FROM generate_series(6, 3000) n;
    INSERT INTO label SELECT n, n FROM generate_series(6, 900) n;
    INSERT INTO log SELECT n, '2025-12-01'::date + n % 60 FROM generate_series(1, 9000) n;
    CREATE TRIGGER of_rows AFTER INSERT ON log FOR EACH ROW EXECUTE FUNCTION fired();
    CREATE TRIGGER of_its_own BEFORE INSERT ON log_2025 FOR EACH ROW EXECUTE FUNCTION fired();
    CREATE TRIGGER of_statements BEFORE INSERT ON item EXECUTE FUNCTION fired();"""

everywhere = pytest.mark.postgres(15, 16, 18)


@pytest.fixture
def many_kinds(stage: Stage) -> Stage:
    """A database with all kinds of post-data entries."""
    stage.sql("DROP TABLE part, item")
    stage.sql(SCHEMA.replace("{publication}", f"{stage.name}_news"))
    return stage


def dump(stage: Stage) -> bytes:
    return b"".join(stage.engine.dump(stage.engine.describe(())))


def load(stage: Stage, data: bytes, *, jobs: int) -> str:
    """Load ``data`` into a new staging database; return its name."""
    engine, staging = stage.engine, stage.staging
    engine.drop(staging)
    engine.create_staging(staging, engine.describe(()))
    engine.load(staging, blocks_of(data), jobs=jobs)
    return staging


@everywhere
def test_load_with_several_jobs_is_complete_and_fires_no_trigger(many_kinds: Stage) -> None:
    data, before = dump(many_kinds), many_kinds.plain_dump()
    for jobs in (2, 4):
        staging = load(many_kinds, data, jobs=jobs)
        assert many_kinds.plain_dump(name=staging) == before
        # The index was built after the rows that its function reads.
        query = "SET enable_seqscan = off; SELECT id FROM label WHERE named(item_id) = 'item 800'"
        assert many_kinds.sql(query, database=staging) == [(800,)]
        query = "SELECT count(*) FROM pg_index WHERE NOT (indisvalid AND indisready)"
        assert many_kinds.sql(query, database=staging) == [(0,)]


@pytest.mark.postgres(18)
def test_load_with_unvalidated_not_null_loads_inherited_rows_first(stage: Stage) -> None:
    stage.sql("""
        DROP TABLE part, item;
        CREATE TABLE base (id bigint, a int);
        CREATE TABLE child (pad text) INHERITS (base);
        CREATE TABLE before_child AS SELECT n, repeat('x', 300) FROM generate_series(1, 50000) n;
        INSERT INTO base VALUES (1, NULL), (2, 3);
        INSERT INTO child SELECT n, nullif(n % 2, 0), repeat('x', 300) FROM generate_series(1, 300) n;
        ALTER TABLE base ADD CONSTRAINT nn NOT NULL a NOT VALID;
    """)
    before = stage.plain_dump()
    assert stage.plain_dump(name=load(stage, dump(stage), jobs=2)) == before


def test_load_with_an_empty_phase_succeeds(stage: Stage) -> None:
    stage.sql("DROP TABLE part, item")
    for statement in ("CREATE TABLE bare (id bigint)", "INSERT INTO bare VALUES (1)", "DROP TABLE bare"):
        stage.sql(statement)
        assert stage.plain_dump(name=load(stage, dump(stage), jobs=2)) == stage.plain_dump()


def test_choose_jobs_follows_setting_machine_and_server(stage: Stage) -> None:
    engine, name = stage.engine, stage.name
    assert engine.choose_jobs(name, None, SMALL_BYTES - 1) == 1
    assert engine.choose_jobs(name, None, SMALL_BYTES) == min(8, len(os.sched_getaffinity(0)))
    assert engine.choose_jobs(name, 3, 0) == 3
    assert engine.choose_jobs("", None, SMALL_BYTES - 1) == 1, "of a dump"
    assert engine.choose_jobs("", None, SMALL_BYTES) == engine.choose_jobs(name, None, SMALL_BYTES)
    role = stage.make_role("limited", "LOGIN CONNECTION LIMIT 4")
    assert stage.engine_with(USER=role).choose_jobs(name, 9, 0) == 2
