"""Dumps with data archives: the rows of the largest tables, dumped and restored side by side."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event

import pytest
from demo.server import PostgresServer
from hypothesis import given
from hypothesis import strategies as st

from igny8_backup.databases.postgresql.dump.placement import divide
from igny8_backup.databases.postgresql.restore.archive.steps import needs_other_rows
from igny8_backup.databases.postgresql.restore.archive.toc import read_contents
from igny8_backup.databases.values import WHOLE, RestoreSelection
from igny8_backup.errors import StorageError, ToolError
from igny8_backup.streams import Blocks
from tests.databases.stage import Stage, blocks_of

SCHEMA = """
    CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'it fired'; END $$;
    CREATE TABLE item (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text,
                       twice text GENERATED ALWAYS AS (name || name) STORED);
    CREATE TABLE part (id serial PRIMARY KEY, item_id bigint NOT NULL REFERENCES item);
    CREATE TABLE "Odd; ""Name" ("a b" text, "self" int);
    CREATE TABLE log (id bigint, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
    CREATE TABLE log_2025 PARTITION OF log FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
    CREATE TABLE log_2026 PARTITION OF log FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    CREATE TABLE base (id bigint, a int);
    CREATE TABLE child (pad text) INHERITS (base);
    CREATE TABLE left_out (id bigint);
    INSERT INTO item (name) SELECT repeat('item ' || n, 30) FROM generate_series(1, 3000) n;
    INSERT INTO part (item_id) SELECT n FROM generate_series(1, 2000) n;
    INSERT INTO "Odd; ""Name" VALUES ('\\.', 1), (NULL, 2);
    INSERT INTO log SELECT n, '2025-12-01'::date + n % 60 FROM generate_series(1, 9000) n;
    INSERT INTO base VALUES (1, NULL), (2, 3);
    INSERT INTO child SELECT n, n, 'pad' FROM generate_series(1, 300) n;
    INSERT INTO left_out VALUES (7);
    SELECT lo_from_bytea(4711, 'large');
    CREATE MATERIALIZED VIEW kept AS SELECT count(*) FROM item JOIN part ON item_id = item.id;
    CREATE SEQUENCE free START 70;
    SELECT nextval('free'), nextval('part_id_seq');
    REVOKE INSERT ON part FROM CURRENT_USER;
    CREATE TRIGGER of_rows AFTER INSERT ON log FOR EACH ROW EXECUTE FUNCTION fired();
    CREATE TRIGGER of_statements BEFORE INSERT ON item EXECUTE FUNCTION fired();"""


@pytest.fixture
def varied(pg: PostgresServer, make_stage: Callable[..., Stage]) -> Stage:
    stage = make_stage(pg)
    stage.create(SCHEMA)
    return stage


def dump(stage: Stage, jobs: int) -> list[bytes]:
    """Return the archives of a dump."""
    engine = stage.engine
    details = engine.describe(["left_out"])
    with engine.open_archives(details, {}, lambda answers: None, jobs=jobs) as streams:
        return [b"".join(stream) for stream in streams.archives]


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def load(stage: Stage, archives: list[bytes], jobs: int, *tables: str) -> list[str]:
    engine, staging = stage.engine, stage.staging
    engine.drop(staging)
    engine.create_staging(staging, engine.describe(()))
    streams = list(map(blocks_of, archives))
    engine.load_archives(staging, streams, jobs=jobs, selection=RestoreSelection(tables=tables))
    return list(engine.tables(staging))


@pytest.mark.postgres(15, 16, 18)
def test_dump_with_data_archives_restores_everything(varied: Stage) -> None:
    archives = dump(varied, 2)
    contents = [read_contents(blocks_of(archive)).entries for archive in archives]
    rows = [{entry.name for entry in entries if entry.kind == "TABLE DATA"} for entries in contents]
    assert len(rows) == 4 and "item" not in rows[0]
    assert sum(map(len, rows)) == len(set.union(*rows))
    everything = {"item", "part", 'Odd; "Name', "log_2025", "log_2026", "base", "child"}
    assert set.union(*rows) == everything
    varied.sql("DELETE FROM left_out")
    before = varied.plain_dump()
    for jobs in (1, 4):
        load(varied, archives, jobs)
        assert varied.plain_dump(name=varied.staging) == before


def test_dump_uses_the_sessions_that_the_role_may_open(varied: Stage) -> None:
    """One holds the lock, one exports the snapshot, and one may look for sessions that wait."""
    varied.sql("SELECT lo_unlink(4711)")  # the roles may not read it
    details, closed = varied.engine.describe(["left_out"]), Event()
    closed.set()
    for limit, archives in ((3, 1), (4, 2), (5, 3), (8, 3), (9, 4), (11, 6), (12, 6)):
        role = varied.make_role(f"of_{limit}", f"LOGIN CONNECTION LIMIT {limit} IN ROLE pg_read_all_data")
        engine = varied.engine_with(USER=role)
        with (
            engine.lock_session(),
            engine.open_archives(details, {}, lambda answers: None, jobs=3) as streams,
        ):
            if limit > 5:
                assert engine.waiting_sessions(60, closed) == ""
            assert len([b"".join(stream) for stream in streams.archives]) == archives


def test_no_archive_waits_if_the_server_ends_connections_whose_data_nobody_reads(varied: Stage) -> None:
    assert len(dump(varied, 2)) == 4
    varied.sql(f"ALTER DATABASE {varied.name} SET tcp_user_timeout = '60s'")
    assert len(dump(varied, 2)) == 2


def test_load_of_single_tables_reads_their_data_archives(varied: Stage) -> None:
    archives = dump(varied, 3)
    assert load(varied, archives, 2, "public.item", "public.child") == [
        *("public.base", "public.child", "public.item")
    ]
    query = (
        "SELECT (SELECT count(*) FROM item), (SELECT count(*) FROM ONLY base), (SELECT count(*) FROM child)"
    )
    assert varied.sql(query, database=varied.staging) == [(3000, 0, 300)]


def test_load_with_a_broken_data_archive_stops_all(varied: Stage) -> None:
    main, first, *others = dump(varied, 2)

    def broken() -> Blocks:
        yield first[:-200]
        raise StorageError("cut")

    engine, staging = varied.engine, varied.staging
    for archive, error, message in (
        (broken(), StorageError, "cut"),
        (blocks_of(first[:-200]), ToolError, "pg_restore"),
    ):
        engine.drop(staging)
        engine.create_staging(staging, engine.describe(()))
        with pytest.raises(error, match=message):
            engine.load_archives(staging, [blocks_of(main), archive, *map(blocks_of, others)], jobs=2)


def test_plain_indexes_are_built_while_other_rows_are_loaded(varied: Stage) -> None:
    """The last archive ends only once the key of the table in the first data archive is there."""
    varied.sql("CREATE INDEX waits ON item (length(name))")
    main, first, last, *others = dump(varied, 2)
    engine, staging = varied.engine, varied.staging

    def indexes() -> set[str]:
        return {name for (name,) in varied.sql("SELECT indexname FROM pg_indexes", database=staging)}

    def slow() -> Blocks:
        yield last[:-100]
        wait_for(lambda: "item_pkey" in indexes())
        assert "waits" not in indexes()
        yield last[-100:]

    engine.drop(staging)
    engine.create_staging(staging, engine.describe(()))
    engine.load_archives(
        staging, [blocks_of(main), blocks_of(first), slow(), *map(blocks_of, others)], jobs=3
    )
    assert "waits" in indexes()


def test_failed_archive_stops_the_index_that_is_being_built(varied: Stage) -> None:
    """A lock that rows can be inserted under makes the key of the table wait."""
    main, first, last, *others = dump(varied, 2)
    engine, staging = varied.engine, varied.staging
    waiting = """
        SELECT pid FROM pg_stat_activity
        WHERE query LIKE '%ADD CONSTRAINT item_pkey%' AND wait_event_type = 'Lock'"""

    def failing() -> Blocks:
        with varied.server.connect(staging) as session:
            session.execute("BEGIN")
            session.execute("LOCK TABLE item IN ACCESS SHARE MODE")
            yield last[:-100]
            wait_for(lambda: varied.sql(waiting, database=staging))
            raise StorageError("cut")

    engine.drop(staging)
    engine.create_staging(staging, engine.describe(()))
    with pytest.raises(StorageError, match="cut"):
        engine.load_archives(
            staging, [blocks_of(main), blocks_of(first), failing(), *map(blocks_of, others)], jobs=3
        )


@pytest.mark.postgres(15, 18)
def test_restore_in_place_of_data_archives_restores_everything(varied: Stage) -> None:
    varied.sql("DELETE FROM left_out")
    main, *data = map(blocks_of, dump(varied, 3))
    before = varied.plain_dump()
    varied.sql("DELETE FROM part; UPDATE child SET a = 0; SELECT nextval('free'), lo_unlink(4711)")
    varied.engine.restore_in_place(main, varied.engine.describe(()), WHOLE, *data)
    assert varied.plain_dump() == before


@given(st.lists(st.integers(0, 10**9), max_size=300), st.integers(1, 8))
def test_divide_places_each_table_at_most_once_and_evenly(sizes: list[int], jobs: int) -> None:
    tables = [(str(n), size) for n, size in enumerate(sorted(sizes, reverse=True))]
    placed = divide(tables, jobs)
    names = [name for group in placed for name in group]
    assert len(placed) < jobs or not placed
    assert len(names) == len(set(names)) and all(placed)
    total = dict(tables)
    largest = max((sum(total[name] for name in group) for group in placed), default=0)
    assert largest <= sum(sizes) / jobs + max(sizes, default=0)


@pytest.mark.postgres(15, 18)
@pytest.mark.parametrize("encoding", ["LATIN1", "WIN1251", "EUC_JP", "SQL_ASCII", "UTF8"])
def test_names_of_tables_reach_pg_dump_in_the_encoding_of_the_database(
    pg: PostgresServer, make_stage: Callable[..., Stage], encoding: str
) -> None:
    stage = make_stage(pg)
    word = {"LATIN1": "tâblë", "EUC_JP": "表", "WIN1251": "таблица", "UTF8": "таблица"}.get(encoding, "a")
    stage.admin(
        f"CREATE DATABASE {stage.name} TEMPLATE template0 ENCODING {encoding} LOCALE 'C' OWNER {pg.role}"
    )
    with stage.engine.live.open() as session:
        for table in (word, f"left_{word}"):
            session.execute(f'CREATE TABLE "{table}" (id int); INSERT INTO "{table}" VALUES (1)')
        session.execute("CREATE TABLE empty (id int)")
    details = stage.engine.describe([f"left_{word}"])
    for jobs in (1, 2):
        with stage.engine.open_archives(details, {}, lambda answers: None, jobs=jobs) as streams:
            archives = [read_contents(blocks_of(b"".join(stream))).entries for stream in streams.archives]
        rows = [entry.name for entries in archives for entry in entries if entry.kind == "TABLE DATA"]
        assert sorted(rows) == sorted([word, "empty"])


CHECKED = """
    CREATE TABLE a_rate (id int PRIMARY KEY, rate numeric);
    INSERT INTO a_rate SELECT n, n FROM generate_series(1, 2000) n;
    CREATE FUNCTION rate_of(int) RETURNS numeric LANGUAGE sql IMMUTABLE
      AS 'SELECT rate FROM public.a_rate WHERE id = $1';
    CREATE FUNCTION has_rate(int, int) RETURNS boolean LANGUAGE sql IMMUTABLE
      AS 'SELECT public.rate_of($1) >= $2';
    CREATE OPERATOR =>= (FUNCTION = has_rate, LEFTARG = int, RIGHTARG = int);
    CREATE DOMAIN rated AS int CHECK (has_rate(value, 1));
    CREATE DOMAIN small AS rated CHECK (value < 9);
    CREATE TYPE pair AS (one small, two text);
    CREATE TABLE by_check (id int CHECK (rate_of(id) > 0), pad text);
    CREATE TABLE by_column (id int, rate numeric GENERATED ALWAYS AS (rate_of(id)) STORED, pad text);
    CREATE TABLE by_domain (id small, pad text);
    CREATE TABLE by_domains (ids small[], pad text);
    CREATE TABLE by_operator (id int CHECK (id =>= 1), pad text);
    CREATE TABLE by_key (id int, pad text) PARTITION BY LIST (rate_of(id));
    CREATE TABLE by_key_all PARTITION OF by_key FOR VALUES IN (1, 2, 3, 4, 5);
    CREATE TABLE by_type (value pair, pad text);
    CREATE TABLE other (id int CHECK (id > 0), made numeric DEFAULT rate_of(1), pad text);
    INSERT INTO by_check SELECT n % 5 + 1, repeat('x', 90) FROM generate_series(1, 1000) n;
    INSERT INTO by_column (id, pad) SELECT id, pad FROM by_check;
    INSERT INTO by_domain SELECT * FROM by_check;
    INSERT INTO by_domains SELECT ARRAY[id], pad FROM by_check;
    INSERT INTO by_operator SELECT * FROM by_check;
    INSERT INTO by_key SELECT * FROM by_check;
    INSERT INTO by_type SELECT ROW(id, pad)::pair, pad FROM by_check;
    INSERT INTO other SELECT id, 1, pad FROM by_check;"""


@pytest.mark.postgres(15, 16, 18)
def test_rows_that_a_function_checks_are_loaded_after_the_rows_that_it_reads(
    pg: PostgresServer, make_stage: Callable[..., Stage]
) -> None:
    stage = make_stage(pg)
    stage.create(f"{CHECKED} CREATE TABLE left_out ();")
    archives = dump(stage, 4)
    in_data = {
        entry.name
        for archive in archives[1:]
        for entry in read_contents(blocks_of(archive)).entries
        if entry.kind == "TABLE DATA"
    }
    assert in_data == {"a_rate", "other"}
    before = stage.plain_dump()
    for jobs in (1, 4):
        load(stage, archives, jobs)
        assert stage.plain_dump(name=stage.staging) == before
    details = stage.engine.describe(())
    stage.sql("DELETE FROM other")
    stage.engine.restore_in_place(blocks_of(archives[0]), details, WHOLE, *map(blocks_of, archives[1:]))
    assert stage.plain_dump() == before


def test_main_archive_that_waits_counts_as_one_of_the_three_that_are_read(varied: Stage) -> None:
    """Each of them needs memory, the main archive from its beginning on."""
    varied.sql(
        """CREATE FUNCTION known(int) RETURNS boolean LANGUAGE sql AS 'SELECT count(*) > 0 FROM public.item';
        CREATE TABLE checked (n int CHECK (known(n)));
        INSERT INTO checked VALUES (1)"""
    )
    archives = dump(varied, 3)
    assert len(archives) >= 5
    reading: set[int] = set()
    counts: list[int] = []

    def noted(number: int) -> Blocks:
        reading.add(number)
        yield archives[number][:-100]
        if number:
            time.sleep(0.3)  # those that are read at the same time are all open by then
            counts.append(len(reading))
        yield archives[number][-100:]
        reading.discard(number)

    engine, staging = varied.engine, varied.staging
    engine.create_staging(staging, engine.describe(()))
    engine.load_archives(staging, [noted(number) for number in range(len(archives))], jobs=4)
    assert max(counts) <= 3


def test_tables_with_ranges_that_a_function_compares_stay_in_the_main_archive(varied: Stage) -> None:
    """The function may read other tables, while rows are restored and while an index is built."""
    varied.sql("DELETE FROM left_out; SELECT lo_unlink(4711)")
    varied.sql(
        """CREATE FUNCTION compared(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 - $2';
        CREATE OPERATOR CLASS numbers FOR TYPE int USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =,
          OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 compared(int, int);
        CREATE TYPE numbers AS RANGE (subtype = int, subtype_opclass = numbers);
        CREATE TABLE ranges (n numbers PRIMARY KEY, pad text);
        INSERT INTO ranges SELECT numbers(n, n + 1), repeat('x', 900) FROM generate_series(1, 3000) n;
        GRANT SELECT ON ranges TO public""",
        superuser=True,
    )
    main, *data = dump(varied, 2)
    contents = [read_contents(blocks_of(archive)).entries for archive in (main, *data)]
    rows = [{entry.name for entry in entries if entry.kind == "TABLE DATA"} for entries in contents]
    assert "ranges" in rows[0] and "item" not in rows[0]
    assert needs_other_rows([entry for entry in contents[0] if entry.data], contents[0])
