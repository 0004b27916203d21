"""Restores in place: everything in one transaction, or nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest
from demo.server import PostgresServer
from psycopg import sql

from igny8_backup.databases.postgresql.in_place.locks import locks_needed
from igny8_backup.databases.postgresql.in_place.restore import restore_in_place
from igny8_backup.databases.postgresql.in_place.scripts import without_commit
from igny8_backup.databases.postgresql.restore.archive.toc import read_contents
from igny8_backup.databases.values import COUNTED_TO, WHOLE, Answers, RestoreSelection
from igny8_backup.errors import StorageError, ToolError, ToolTooOldError
from igny8_backup.formats.details import DatabaseDetails, Probe
from igny8_backup.streams import Blocks
from tests.databases.stage import Stage, blocks_of
from tests.services.postgres import PostgresServers, open_session

both_ends = pytest.mark.postgres(15, 18)

SCHEMA = """
    CREATE SCHEMA "Odd, Schema";
    CREATE TYPE mood AS ENUM ('good', 'bad');
    CREATE TABLE account (id serial PRIMARY KEY, mood mood, more text, line text);
    INSERT INTO account (mood, more, line) VALUES ('good', 'a=>1', 'COMMIT;'), ('bad', NULL, E'\\\\.');
    CREATE TABLE one (line text);
    INSERT INTO one VALUES ('COMMIT;'), ('BEGIN;'), (''), (E'\\nCOMMIT;\\n\\n--\\n'), ('\\q');
    CREATE TABLE "Odd, Schema"."Ta""ble; --" (id bigint GENERATED ALWAYS AS IDENTITY, account int
        REFERENCES account);
    CREATE VIEW sums AS SELECT count(*) FROM account;
    CREATE MATERIALIZED VIEW kept AS SELECT * FROM sums;
    CREATE FUNCTION ten() RETURNS int LANGUAGE plpgsql AS $$BEGIN
COMMIT;
RETURN 10; END$$;
    CREATE PUBLICATION news FOR TABLE account;
    ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO pg_monitor;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO pg_monitor;
    COMMENT ON SCHEMA public IS 'ours';
    REVOKE USAGE ON SCHEMA public FROM PUBLIC;
    SELECT lo_from_bytea(4711, 'a large object'), lo_from_bytea(4712, 'COMMIT;');
    CREATE TABLE django_migrations (id serial, app text, name text);
    INSERT INTO django_migrations (app, name) VALUES ('a', '0001_x'), ('a', '0002_y');"""

# Only PostgreSQL 15 from Debian has these.
EXTENSIONS = """
    CREATE EXTENSION hstore;
    CREATE EXTENSION btree_gist SCHEMA "Odd, Schema";
    CREATE TABLE pairs (it hstore, n int, EXCLUDE USING gist (n "Odd, Schema".gist_int4_ops WITH =));
    INSERT INTO pairs VALUES ('a=>1', 1);"""
EXTENSIONS_LATER = """
    DROP EXTENSION hstore CASCADE;
    CREATE EXTENSION citext SCHEMA later;
    ALTER TABLE later.more ADD other later.citext;"""

LATER = """
    CREATE SCHEMA later;
    CREATE TYPE later.word AS (it text);
    CREATE TABLE later.more (word later.word);
    CREATE VIEW seen AS SELECT a.line, m.word FROM account a, later.more m;
    DELETE FROM account WHERE mood = 'bad';
    ALTER TABLE account DROP COLUMN more;
    DROP TABLE one;
    ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
    ALTER DEFAULT PRIVILEGES GRANT INSERT ON TABLES TO pg_monitor;
    SELECT lo_from_bytea(4713, 'more'), lo_unlink(4711);
    COMMENT ON SCHEMA public IS 'other';
    GRANT ALL ON SCHEMA public TO pg_monitor;
    CREATE PUBLICATION later_news FOR TABLE account;
    CREATE CAST (mood AS later.word) WITH INOUT;"""


ODD = """SELECT * FROM (VALUES ('', NULL, 'a b', E'q"\\\\,()', '2026-01-02 03:04:05+02'::timestamptz),
    ('x', 'y', E'\\n', 'é', NULL)) AS odd (a, b, c, d, e)"""
PROBES = {"odd": ODD, "none": "SELECT 1 WHERE false", "lines": "SELECT count(*), min(line) FROM account"}


class Poor:
    """A database whose role may not create databases; it was dumped and then changed."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.role = stage.make_role("poor", "LOGIN")
        stage.server.create_database(stage.name)
        stage.admin(
            sql.SQL("ALTER DATABASE {} OWNER TO {}").format(*map(sql.Identifier, (stage.name, self.role)))
        )
        self.extended = stage.server.major == 15
        self.sql(SCHEMA + EXTENSIONS if self.extended else SCHEMA)
        self.engine = stage.engine_with(USER=self.role)
        self.details: DatabaseDetails = self.engine.describe(())
        answers: list[Answers] = []
        self.data = b"".join(self.engine.dump(self.details, PROBES, answers.append))
        (self.answers,) = answers
        self.before = stage.plain_dump()
        self.change()
        self.after = stage.plain_dump()
        assert self.before != self.after

    def change(self) -> None:
        self.sql(LATER + EXTENSIONS_LATER if self.extended else LATER)

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        server = self.stage.server
        return psycopg.connect(
            host=server.host,
            port=server.port,
            user=self.role,
            password=server.password,
            dbname=self.stage.name,
            autocommit=True,
        )

    def sql(self, statements: str) -> None:
        with self.connect() as session:
            session.execute(statements.encode())

    def restore(
        self,
        blocks: Blocks | None = None,
        *,
        details: DatabaseDetails | None = None,
        selection: RestoreSelection = WHOLE,
    ) -> tuple[str, ...]:
        return self.engine.restore_in_place(
            blocks or blocks_of(self.data), details or self.details, selection
        )

    def blockers(self) -> list[str]:
        return self.engine.in_place_blockers(self.stage.part(), self.details, blocks_of(self.data))


@pytest.fixture
def poor(pg: PostgresServer, make_stage: Callable[..., Stage]) -> Iterator[Poor]:
    stage = make_stage(pg)
    yield Poor(stage)
    stage.server.drop_database(stage.name)


@both_ends
def test_restore_in_place_replaces_everything(poor: Poor) -> None:
    assert poor.blockers() == []
    assert poor.restore() == ()
    assert poor.stage.plain_dump() == poor.before
    # Again, over the restored contents; everything belongs to the role that restores.
    poor.change()
    assert poor.restore(selection=RestoreSelection(owners=False)) == ()
    assert poor.blockers() == []
    query = "SELECT count(*) FROM account, one"
    assert poor.stage.sql(query, superuser=True) == [(10,)]


def test_in_place_blockers_name_connection_limits(poor: Poor) -> None:
    poor.stage.admin(f"ALTER ROLE {poor.role} CONNECTION LIMIT 2")
    (found,) = poor.blockers()
    assert "may open 2 sessions at once" in found and f'ALTER ROLE "{poor.role}" CONNECTION LIMIT ' in found


def test_restore_in_place_with_assumed_role(poor: Poor) -> None:
    stage = poor.stage
    stage.admin(sql.SQL("GRANT {} TO {}").format(*map(sql.Identifier, (poor.role, stage.server.role))))
    poor.engine = stage.engine_with(OPTIONS={"assume_role": poor.role})
    assert poor.blockers() == []
    poor.restore()
    assert stage.plain_dump() == poor.before


@pytest.mark.postgres(15, 16, 18)
def test_locks_needed_is_an_upper_bound(poor: Poor) -> None:
    poor.sql("SELECT lo_create(0) FROM generate_series(1, 500)")
    entries = read_contents(blocks_of(poor.data)).entries
    with open_session(poor.stage.server, poor.stage.name, role=poor.role) as session:
        estimate = locks_needed(session, entries)
    query = (
        "SELECT count(DISTINCT (relation, classid, objid, objsubid)) FROM pg_locks"
        " JOIN pg_stat_activity a USING (pid) WHERE a.datname = %s"
        " AND a.usename = %s AND a.wait_event = 'advisory'"
    )
    last = Probe(name="last", query="SELECT 1 FROM pg_advisory_xact_lock(4711)", rows=(("1",),))
    details = replace(poor.details, probes=(last,))
    held = 0
    with poor.stage.server.connect(poor.stage.name, superuser=True) as holder:
        # The probe, one of the last commands before COMMIT, waits for this lock.
        holder.execute("BEGIN; SELECT pg_advisory_xact_lock(4711)")
        with ThreadPoolExecutor(1) as pool:
            restored = pool.submit(poor.restore, details=details)
            while not held and not restored.done():
                ((held,),) = poor.stage.admin(query, poor.stage.name, poor.role)
            holder.rollback()
            restored.result()
    assert 500 < held <= estimate < 2 * held


def test_restore_in_place_with_matching_probes_succeeds(poor: Poor) -> None:
    asked = poor.answers
    assert len(asked.probes) == len(PROBES) and asked.row_counts and not asked.failed
    poor.restore(
        details=replace(poor.details, probes=asked.probes, row_counts=asked.row_counts, counted_to=COUNTED_TO)
    )
    assert settled(poor) == poor.before


@both_ends
def test_restore_in_place_failure_changes_nothing(poor: Poor) -> None:
    def cut() -> Blocks:
        yield poor.data[: len(poor.data) // 2]
        raise StorageError("The network is gone.")

    def late() -> Blocks:
        yield poor.data
        raise StorageError("The digest is wrong.")

    for broken, words in ((cut(), "network is gone"), (late(), "digest is wrong")):
        with pytest.raises(StorageError, match=words):
            poor.restore(broken)
        assert settled(poor) == poor.after
    missing = replace(poor.details, tables=(*poor.details.tables, 'public."Not There"'))
    with pytest.raises(ToolError, match='(?s)tables are missing: public."Not There".*rolled back'):
        poor.restore(details=missing)
    other = replace(poor.details, migrations={"a": "0003_z"}, applied_migrations=None)
    with pytest.raises(ToolError, match="migrations differ from those of the backup"):
        poor.restore(details=other)
    fewer = replace(poor.details, row_counts={"public.account": 4713}, counted_to=10**6)
    with pytest.raises(ToolError, match="public.*account.* had 4713 rows and now has"):
        poor.restore(details=fewer)
    lies = replace(poor.details, probes=(Probe(name="odd", query="SELECT 1", rows=(("2",),)),))
    with pytest.raises(ToolError, match='the probe "odd" has another result'):
        poor.restore(details=lies)
    with pytest.raises(ToolError, match="nosuch"):
        poor.restore(blocks_of(poor.data.replace(b"CREATE VIEW public.sums", b"CREATE VIEW nosuch.sums")))
    assert settled(poor) == poor.after


def test_restore_in_place_moves_last_runs_of_beat_to_now(poor: Poor) -> None:
    poor.sql(
        "CREATE TABLE django_celery_beat_periodictask (last_run_at timestamptz, start_time timestamptz);"
        "CREATE TABLE django_celery_beat_periodictasks (last_update timestamptz);"
        "INSERT INTO django_celery_beat_periodictask VALUES"
        " ('2020-01-01', NULL), (NULL, NULL), (NULL, '2020-01-01'), (NULL, '2999-01-01');"
        "INSERT INTO django_celery_beat_periodictasks VALUES ('2020-01-01')"
    )
    details = poor.engine.describe(())
    poor.restore(blocks_of(b"".join(poor.engine.dump(details))), details=details)
    query = "SELECT last_run_at > '2021-01-01' FROM django_celery_beat_periodictask ORDER BY start_time, 1"
    assert poor.stage.sql(query, superuser=True) == [(True,), (None,), (True,), (True,)]
    query = "SELECT last_update > '2021-01-01' FROM django_celery_beat_periodictasks"
    assert poor.stage.sql(query, superuser=True) == [(True,)]


def settled(poor: Poor) -> bytes:
    """Return the database as SQL, once the server has noticed that the client is gone."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND usename = %s"
    while poor.stage.admin(query, poor.stage.name, poor.role) != [(0,)]:
        time.sleep(0.02)
    return poor.stage.plain_dump()


@both_ends
def test_restore_in_place_lock_timeout_rolls_back(poor: Poor) -> None:
    with poor.connect() as holder:
        holder.execute("BEGIN; LOCK TABLE account IN ACCESS SHARE MODE")
        with pytest.raises(ToolError, match="(?s)lock timeout.*rolled back.*Stop what uses"):
            restore_in_place(
                poor.engine.live,
                blocks_of(poor.data),
                poor.details,
                selection=WHOLE,
                scratch=poor.stage.scratch,
                bin_dir=poor.stage.bin_dir,
                lock_seconds=0.2,
            )
    assert settled(poor) == poor.after


def test_in_place_blockers_are_listed(poor: Poor) -> None:
    """They are found before anything is dropped."""
    stage = poor.stage
    newer = stage.part(dump_version="99.1", server_version="99.1")
    older, client = poor.engine.in_place_blockers(newer, poor.details, blocks_of(poor.data))
    assert "restore to version 99 or newer" in older and "postgresql-client-99" in client
    strange = stage.make_role("strange")
    stage.sql(
        f"CREATE SCHEMA theirs AUTHORIZATION {strange}; "
        f"CREATE PUBLICATION theirs; SELECT lo_from_bytea(99, 'theirs');"
        "CREATE FUNCTION theirs.noise() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN NULL; END';"
        "CREATE EVENT TRIGGER noisy ON ddl_command_end EXECUTE FUNCTION theirs.noise();"
        "CREATE SUBSCRIPTION feed CONNECTION '' PUBLICATION p WITH (connect = false, slot_name = NONE);",
        superuser=True,
    )
    found = poor.blockers()
    assert [text.rpartition(": ")[2] for text in found] == [
        "noisy.",
        "feed.",
        "postgres.",
        "theirs.",
        "theirs.",
    ]
    stage.sql("DROP SUBSCRIPTION feed", superuser=True)
    # More locks than the lock table holds: one for each large object.
    poor.sql("SELECT lo_create(0) FROM generate_series(1, 20000)")
    assert "ALTER SYSTEM SET max_locks_per_transaction = " in poor.blockers()[-1]
    stage.admin(sql.SQL("ALTER DATABASE {} OWNER TO postgres").format(sql.Identifier(stage.name)))
    assert "may not create schemas" in poor.blockers()[-2]


HEAD = b"--\n-- PostgreSQL database dump\n--\n\n\\restrict KEY\n\nBEGIN;\n\nSELECT 1;\n"
TAIL = b"\nCOMMIT;\n\n--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict KEY\n\n"


@pytest.mark.parametrize("size", [1, 7, 100, 1024, 1 << 20])
def test_without_commit_removes_only_the_last_commit(size: int) -> None:
    row = b"COMMIT;\n\n--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict KEY\n"
    script = HEAD + row * 100 + b"x" * 2000 + TAIL
    blocks = (script[start : start + size] for start in range(0, len(script), size))
    assert b"".join(without_commit(blocks)) == HEAD + row * 100 + b"x" * 2000 + b"\n\\unrestrict KEY\n"


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (HEAD.replace(b"\\restrict KEY\n", b"") + b"x" * 2000 + TAIL, ToolTooOldError),
        (b"", ToolTooOldError),
        (HEAD, ToolError),
        (HEAD + b"x" * 2000 + TAIL[:-20], ToolError),
        (HEAD + TAIL + b"DROP TABLE account;\n", ToolError),
        (HEAD + TAIL.replace(b"COMMIT", b"ROLLBACK"), ToolError),
    ],
)
def test_without_commit_refuses_unexpected_script(script: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        list(without_commit(block for block in [script]))


def test_restore_in_place_replaces_objects_that_belong_to_no_schema(
    postgres_servers: PostgresServers, make_stage: Callable[..., Stage]
) -> None:
    stage = make_stage(postgres_servers.get(18), role="postgres")
    stage.create()
    for kind in (
        "TRANSFORM FOR int LANGUAGE sql (FROM SQL WITH FUNCTION prsd_lextype(internal))",
        "ACCESS METHOD other_heap TYPE TABLE HANDLER heap_tableam_handler",
    ):
        stage.sql(f"CREATE {kind}", superuser=True)
    engine, before = stage.engine, stage.plain_dump()
    details = engine.describe(())
    data = b"".join(engine.dump(details))
    assert engine.restore_in_place(blocks_of(data), details, WHOLE) == ()
    assert stage.plain_dump() == before
