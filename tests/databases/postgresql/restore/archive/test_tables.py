"""Single tables of a dump: what is restored with them, what is left out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from demo.server import PostgresServer

from igny8_backup.databases.names import find_tables, split_table_name, table_name
from igny8_backup.databases.values import RestoreSelection
from igny8_backup.errors import UsageError
from igny8_backup.formats.details import DatabaseDetails
from tests.databases.stage import Stage, blocks_of

SCHEMA = """
    CREATE SCHEMA "Odd, Schema";
    CREATE TYPE "Odd, Schema".mood AS ENUM ('good', 'bad');
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE FUNCTION ten() RETURNS int LANGUAGE sql AS 'SELECT 10';
    CREATE FUNCTION untouched() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE SEQUENCE free START 70;
    CREATE TABLE account (id serial PRIMARY KEY, mood "Odd, Schema".mood, n positive DEFAULT ten(),
                          free int DEFAULT nextval('free'), UNIQUE (n, mood));
    COMMENT ON COLUMN account.n IS 'of something';
    CREATE TABLE invoice (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, total numeric(9, 2),
                          account_id int NOT NULL REFERENCES account);
    CREATE INDEX by_total ON invoice (total) WHERE total > 1;
    CREATE STATISTICS both_of ON total, account_id FROM invoice;
    CREATE TRIGGER touch BEFORE UPDATE ON invoice FOR EACH ROW EXECUTE FUNCTION untouched();
    CREATE POLICY all_of_it ON invoice USING (true);
    CREATE VIEW sums AS SELECT sum(total) FROM invoice;
    CREATE MATERIALIZED VIEW kept AS SELECT * FROM account;
    CREATE TABLE "Odd, Schema"."Ta""ble; --" ("a b" text REFERENCES nothing);
    CREATE TABLE "Odd, Schema"."Ta" (other int);
    CREATE TABLE log (day date, what text) PARTITION BY RANGE (day);
    CREATE INDEX ON log (what);
    CREATE TABLE log_2025 PARTITION OF log FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
    CREATE TABLE log_2026 PARTITION OF log FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    INSERT INTO account (mood, n) SELECT 'good', n FROM generate_series(1, 3) n;
    INSERT INTO invoice (total, account_id) SELECT id * 10, id FROM account;
    INSERT INTO log VALUES ('2025-05-05', 'then'), ('2026-06-06', 'now');
    INSERT INTO "Odd, Schema"."Ta""ble; --" VALUES (NULL), (NULL);""".replace(" REFERENCES nothing", "")

both_ends = pytest.mark.postgres(15, 18)


class Tables:
    """Loads tables of one dump, each time into a new staging database.

    ``left_out`` is the result of the last load.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        stage.create(SCHEMA)
        self.details = stage.engine.describe(())
        self.data = b"".join(stage.engine.dump(self.details))
        self.left_out: tuple[str, ...] = ()

    def load(self, *given: str, jobs: int = 1) -> list[str]:
        """Load the tables ``given``; return the tables of the staging database."""
        engine, staging = self.stage.engine, self.stage.staging
        tables = find_tables(self.details, given)
        engine.drop(staging)
        engine.create_staging(staging, self.details)
        self.left_out = engine.load(
            staging,
            blocks_of(self.data),
            jobs=jobs,
            selection=RestoreSelection(tables=tables),
        )
        return list(engine.tables(staging))

    def assert_same(self, *tables: str) -> None:
        """Compare the dumps of these tables in the staging and the live database, except what is left out."""
        options = [f"--table={table}" for table in tables]
        staging = self.stage.plain_dump(*options, name=self.stage.staging)
        source = self.stage.plain_dump(*options)
        words = (b"FOREIGN KEY", b"TRIGGER", b"POLICY", b"CREATE FUNCTION")
        assert [line for line in staging.splitlines() if line and not line.startswith(b"--")] == [
            line
            for line in source.splitlines()
            if line and not line.startswith(b"--") and not any(word in line for word in words)
        ]


@both_ends
def test_load_of_single_tables_includes_dependencies(
    pg: PostgresServer, make_stage: Callable[..., Stage]
) -> None:
    stage = make_stage(pg)
    tables = Tables(stage)
    assert tables.load("account") == ["public.account"]
    assert list(tables.left_out) == []
    tables.assert_same("public.account", "public.account_id_seq", "public.free")
    staging = stage.staging
    assert stage.sql("SELECT nextval('free'), count(*), sum(n) FROM account", database=staging) == [
        (73, 3, 6)
    ]

    # A foreign key to a missing table is left out; triggers and policies always are.
    for jobs in (1, 2):
        assert tables.load("public.invoice", jobs=jobs) == ["public.invoice"]
        assert [line.rsplit(" ", 2)[-2] for line in tables.left_out] == [
            "touch",
            "invoice_account_id_fkey",
            "all_of_it",
        ]
        query = "SELECT indexname FROM pg_indexes WHERE tablename = 'invoice' ORDER BY 1"
        assert stage.sql(query, database=staging) == [("by_total",), ("invoice_pkey",)]
        assert stage.sql("SELECT count(*) FROM pg_statistic_ext", database=staging) == [(1,)]

    # With both tables the foreign key is restored; the sequence of an identity column continues.
    assert tables.load("invoice", "account") == ["public.account", "public.invoice"]
    assert [line.split()[0] for line in tables.left_out] == ["TRIGGER", "POLICY"]
    query = "INSERT INTO invoice (total, account_id) VALUES (1, 1) RETURNING id"
    assert stage.sql(query, database=staging) == [(4,)]

    # A partitioned table includes its partitions; a partition includes the definition of its parent.
    assert tables.load("log") == ["public.log", "public.log_2025", "public.log_2026"]
    tables.assert_same("public.log", "public.log_2025", "public.log_2026")
    tables.load("log_2026")
    assert stage.sql("SELECT what FROM log_2026", database=staging) == [("now",)]

    odd = '"Odd, Schema"."Ta""ble; --"'
    assert tables.load(odd) == [odd]
    tables.assert_same(odd)
    assert tables.load('"Ta"') == ['"Odd, Schema"."Ta"']
    with pytest.raises(UsageError, match="materialized view"):
        tables.load("kept")


def test_find_tables_resolves_names() -> None:
    details = DatabaseDetails(
        alias="default", name="igny8", tables=("a.item", "b.item", "b.other", 'c."It""em.x"')
    )
    assert find_tables(details, ["b.item", "other", "b.item", '"It""em.x"']) == (
        "b.item",
        "b.other",
        'c."It""em.x"',
    )
    with pytest.raises(UsageError, match="in more than one schema: a.item, b.item") as ambiguous:
        find_tables(details, ["item"])
    assert str(ambiguous.value).endswith("--table a.item.")
    for wrong in ("tem", "nothing", "", "it'em", "Other"):
        with pytest.raises(UsageError, match="is not in the backup"):
            find_tables(details, [wrong])


@pytest.mark.parametrize("names", [("public", "item"), ('a"b', "c.d"), ('."', '"".'), ("Ä", " ")])
def test_split_table_name_inverts_table_name(names: tuple[str, str]) -> None:
    assert split_table_name(table_name(*names)) == names


def test_load_leaves_event_triggers_out(stage: Stage) -> None:
    stage.role = "postgres"
    stage.sql(
        "CREATE TABLE fired (what text);"
        "CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS"
        " 'BEGIN INSERT INTO fired VALUES (tg_tag); END';"
        "CREATE EVENT TRIGGER noted ON ddl_command_end EXECUTE FUNCTION note();"
        "COMMENT ON EVENT TRIGGER noted IS 'of all commands';",
        superuser=True,
    )
    engine, staging = stage.engine, stage.staging
    details = engine.describe(())
    data = b"".join(engine.dump(details))
    for jobs in (1, 2):
        engine.create_staging(staging, details)
        left_out = engine.load(staging, blocks_of(data), jobs=jobs)
        assert left_out == ("EVENT TRIGGER - noted postgres",)
        stage.sql("CREATE TABLE later ()", database=staging, superuser=True)
        assert stage.sql("SELECT what FROM fired", database=staging, superuser=True) == []
        engine.drop(staging)
    assert stage.sql("SELECT count(*) FROM pg_event_trigger", superuser=True) == [(1,)]


@pytest.mark.postgres(18)
def test_load_of_single_tables_restores_no_statistics(stage: Stage) -> None:
    stage.sql("ANALYZE item")
    data = stage.plain_dump("--format=custom", "--statistics")
    assert b"STATISTICS DATA" in data
    engine = stage.engine
    engine.create_staging(stage.staging, engine.describe(()))
    engine.load(stage.staging, blocks_of(data), jobs=1, selection=RestoreSelection(tables=("public.item",)))
    query = "SELECT (SELECT count(*) FROM item), count(*) FROM pg_stats WHERE tablename = 'item'"
    assert stage.sql(query, database=stage.staging) == [(200, 0)]
