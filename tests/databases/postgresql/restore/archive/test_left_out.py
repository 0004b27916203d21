"""Entries of an archive that a restore leaves out."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from demo.server import PostgresServer

from igny8_backup.databases.postgresql.restore.archive.left_out import select_all
from igny8_backup.databases.postgresql.restore.archive.toc import Entry
from tests.databases.stage import Stage, blocks_of


def entry(number: int, kind: str, name: str, *needs: int) -> Entry:
    return Entry(number, kind, "public", name, "igny8", frozenset(needs))


def test_select_all_leaves_contents_of_views_of_foreign_tables_out() -> None:
    entries = (
        entry(1, "SERVER", "far"),
        entry(2, "TABLE", "log"),
        entry(3, "FOREIGN TABLE", "log_old", 1),
        entry(4, "TABLE ATTACH", "log_old", 2, 3),
        entry(5, "TABLE", "item"),
        entry(6, "VIEW", "all_logs", 2),
        entry(7, "MATERIALIZED VIEW", "by_view", 6),
        entry(8, "MATERIALIZED VIEW", "by_matview", 7),
        entry(9, "MATERIALIZED VIEW", "local", 5),
        entry(10, "MATERIALIZED VIEW DATA", "by_view", 7),
        entry(11, "MATERIALIZED VIEW DATA", "by_matview", 8, 10),
        entry(12, "MATERIALIZED VIEW DATA", "local", 9),
        Entry(13, "EVENT TRIGGER", "", "watch", "postgres"),
        Entry(14, "COMMENT", "", "EVENT TRIGGER watch", "postgres", frozenset([13])),
    )
    selected = select_all(entries, ["igny8"])
    assert [item.number for item in selected.entries] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 12]
    assert selected.left_out == (
        "MATERIALIZED VIEW DATA public by_view igny8",
        "MATERIALIZED VIEW DATA public by_matview igny8",
        "EVENT TRIGGER - watch postgres",
    )


FOREIGN = """
    CREATE EXTENSION postgres_fdw;
    CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw
        OPTIONS (host '{host}', port '{port}', dbname '{name}');
    CREATE USER MAPPING FOR postgres SERVER far OPTIONS (user 'postgres', password '{password}');
    CREATE FOREIGN TABLE away (id bigint, name text) SERVER far OPTIONS (table_name 'item');
    CREATE VIEW seen AS SELECT * FROM away;
    CREATE MATERIALIZED VIEW kept AS SELECT * FROM seen;
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM kept;
    CREATE MATERIALIZED VIEW local AS SELECT count(*) FROM item;
    CREATE UNIQUE INDEX ON kept (id);
    ALTER SERVER far OPTIONS (SET port '1');"""


@pytest.mark.postgres(15)
@pytest.mark.parametrize("jobs", [1, 2])
def test_load_does_not_contact_foreign_servers(
    pg: PostgresServer, make_stage: Callable[..., Stage], jobs: int
) -> None:
    stage = make_stage(pg, role="postgres")
    stage.create()
    facts = {"host": pg.host, "port": pg.port, "name": stage.name, "password": pg.superuser_password}
    stage.sql(FOREIGN.format(**facts), superuser=True)
    engine = stage.engine
    details = engine.describe(())
    data = b"".join(engine.dump(details))
    engine.create_staging(stage.staging, details)
    blocks = (block for block in [data])
    left_out = engine.load(stage.staging, blocks, jobs=jobs)
    assert [label.rpartition(" ")[0] for label in left_out] == [
        "MATERIALIZED VIEW DATA public kept",
        "MATERIALIZED VIEW DATA public counted",
    ]
    filled = "SELECT relname, relispopulated FROM pg_class WHERE relkind = 'm' ORDER BY 1"
    assert stage.sql(filled, database=stage.staging) == [("counted", False), ("kept", False), ("local", True)]
    assert engine.analyze(stage.staging) == {}


def test_labels_of_a_provider_that_the_server_lacks_are_left_out_and_named(stage: Stage) -> None:
    labels = [("item", 0, "no_provider"), ("item", 1, "no_provider"), ("one", 0, 'Other "provider"')]
    stage.sql("CREATE TABLE one ()")
    with stage.server.connect(stage.name, superuser=True) as session:
        session.execute("SET allow_system_table_mods TO on")
        for table, column, provider in labels:
            session.execute(
                "INSERT INTO pg_seclabel (objoid, classoid, objsubid, provider, label)"
                " VALUES (%s::regclass, 'pg_class'::regclass, %s, %s, E'secret\\nSECURITY LABEL FOR x ON y')",
                [table, column, provider],
            )
    details, expected = (
        stage.engine.describe(()),
        'public TABLE item.*no_provider.*TABLE one.*Other "provider"',
    )
    data = b"".join(stage.engine.dump(details))
    for jobs in (1, 2):
        stage.engine.create_staging(stage.staging, details)
        left_out = stage.engine.load(stage.staging, blocks_of(data), jobs=jobs)
        assert re.search(expected, "; ".join(left_out)) and len(left_out) == 2
        stage.engine.drop(stage.staging)
