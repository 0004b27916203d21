"""Which indexes can be built before all rows are there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from demo.server import PostgresServer

from igny8_backup.databases.postgresql.restore.archive.indexes import is_plain_index
from igny8_backup.databases.postgresql.restore.archive.toc import read_contents
from tests.databases.stage import Stage, blocks_of

PLAIN = (
    "CREATE INDEX plain_one ON item (name)",
    "CREATE UNIQUE INDEX plain_two ON item (id, name DESC NULLS LAST)",
    "CREATE INDEX plain_like ON item (name varchar_pattern_ops)",
    'CREATE INDEX plain_collated ON item (name COLLATE "C")',
    "CREATE INDEX plain_gin ON item USING gin (words)",
    """CREATE INDEX "plain ""quoted""; name" ON "Odd; ""Table" ("a, b")""",
    "ALTER TABLE item ADD CONSTRAINT plain_key PRIMARY KEY (id)",
    """ALTER TABLE "Odd; ""Table" ADD CONSTRAINT plain_unique UNIQUE ("a, b")""",
)
OTHERS = (
    "CREATE INDEX other_expression ON item (lower(name))",
    "CREATE INDEX other_condition ON item (name) WHERE id > 7",
    "CREATE INDEX other_mixed ON item (id, (name || 'x'))",
    "CREATE UNIQUE INDEX other_included ON item (id) INCLUDE (name)",
    "CREATE INDEX other_clustered ON item (name); ALTER TABLE item CLUSTER ON other_clustered",
    "ALTER TABLE item ADD CONSTRAINT other_excluded EXCLUDE (id WITH =)",
    "ALTER TABLE item ADD CONSTRAINT other_foreign FOREIGN KEY (id) REFERENCES keyed",
    "ALTER TABLE item ADD CONSTRAINT other_deferred UNIQUE (id, name) DEFERRABLE",
)
TABLES = """
    CREATE TABLE item (id bigint, name text, words jsonb);
    CREATE TABLE keyed (id bigint PRIMARY KEY);
    CREATE TABLE "Odd; ""Table" ("a, b" int)"""


@pytest.mark.postgres(15, 16, 18)
def test_plain_indexes_are_told_from_others_as_pg_dump_writes_them(
    pg: PostgresServer, make_stage: Callable[..., Stage]
) -> None:
    stage = make_stage(pg)
    stage.create(";".join((TABLES, *PLAIN, *OTHERS)))
    archive = b"".join(stage.engine.dump(stage.engine.describe(()), {}, lambda answers: None))
    entries = read_contents(blocks_of(archive)).entries
    found = {entry.name for entry in entries if entry.plain_index}
    assert found == {
        *("plain_one", "plain_two", "plain_like", "plain_collated", "plain_gin", 'plain "quoted"; name'),
        *("item plain_key", 'Odd; "Table plain_unique', "keyed keyed_pkey"),
    }
    tables = {entry.number: entry.name for entry in entries if entry.kind == "TABLE"}
    for entry in entries:
        if entry.plain_index:
            assert len(entry.needs) == 1 and entry.needs <= tables.keys(), entry.label


@pytest.mark.parametrize(
    "definition",
    [
        b"CREATE INDEX a ON ONLY public.log USING btree (id);\n",
        b"CREATE INDEX a ON public.b USING btree (c); DROP TABLE d;\n",
        b"CREATE INDEX a ON public.b USING btree (f(c));\n",
        b"CREATE INDEX a ON public.b USING btree (c) WITH (fillfactor='70');\n",
    ],
)
def test_other_sql_is_no_plain_index(definition: bytes) -> None:
    assert is_plain_index("INDEX", b"CREATE INDEX a ON public.b USING btree (c);\n")
    assert not is_plain_index("INDEX", definition)
    assert not is_plain_index("TABLE", b"CREATE INDEX a ON public.b USING btree (c);\n")
