"""The two runs of a load with several jobs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igny8_backup.databases.postgresql.restore.archive.split_phases import split_phases
from igny8_backup.databases.postgresql.restore.archive.toc import Entry, read_contents
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

# Indexes and keys of tables with rows, not of partitions, without functions, types or collations of the
# database.
EARLY = {"item_pkey", "item_name_key", "lowered", "replicated", "label_pkey", "odd"}

# A function and a view are among them, because they depend on a primary key.
LATE = [
    *("TRIGGER", "FK CONSTRAINT", "RULE", "POLICY", "ROW SECURITY", "PUBLICATION", "STATISTICS"),
    *("INDEX ATTACH", "CHECK CONSTRAINT", "FUNCTION", "MATERIALIZED VIEW", "MATERIALIZED VIEW DATA"),
]

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
    engine.load(staging, blocks_of(data), raw_bytes=len(data), jobs=jobs)
    return staging


@everywhere
def test_split_phases_moves_indexes_of_loaded_tables_forward(many_kinds: Stage) -> None:
    entries = read_contents(blocks_of(dump(many_kinds))).entries
    first, second = split_phases(entries)
    early = [entry for entry in first if entry.post_data]
    assert {entry.name.split()[-1] for entry in early} == EARLY
    assert {entry.kind for entry in early} == {"INDEX", "CONSTRAINT"}
    assert {entry for entry in entries if not entry.post_data} <= set(first)
    assert {entry.kind for entry in second} >= set(LATE)


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


def test_split_phases_without_rows_keeps_indexes_late(many_kinds: Stage) -> None:
    entries = read_contents(blocks_of(dump(many_kinds))).entries
    some = tuple(entry for entry in entries if (entry.kind, entry.name) != ("TABLE DATA", "item"))
    early = {entry.name.split()[-1] for entry in split_phases(some)[0] if entry.post_data}
    assert early == {"label_pkey", "odd"}


KINDS = st.sampled_from(
    ["TABLE", "TABLE DATA", "TABLE ATTACH", "INDEX", "INDEX ATTACH", "ACL", "CONSTRAINT", "FK CONSTRAINT"]
    + ["TRIGGER", "FUNCTION", "COMMENT"]
)
ENTRIES = st.tuples(KINDS, st.frozensets(st.integers(1, 30), max_size=3), st.booleans(), st.booleans())


@pytest.mark.slow
@given(st.lists(ENTRIES, max_size=30))
def test_split_phases_keeps_each_entry_once_and_in_order(
    drawn: list[tuple[str, frozenset[int], bool, bool]],
) -> None:
    entries = [
        Entry(number, kind, needs=needs, post_data=post_data, unique=unique)
        for number, (kind, needs, post_data, unique) in enumerate(drawn, start=1)
    ]
    runs = split_phases(entries)
    for run in runs:
        assert [entry.number for entry in run] == sorted(entry.number for entry in run)
    assert sorted(entry.number for run in runs for entry in run) == [entry.number for entry in entries]
    assert all(entry.post_data for entry in runs[1])


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
