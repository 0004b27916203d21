"""Tables whose rows are left out of a dump."""

from __future__ import annotations

import pytest

from igny8_backup.errors import RefusedError
from tests.databases.stage import Stage

all_majors = pytest.mark.postgres(15, 16, 18)

EXCLUDABLE = """
    CREATE SCHEMA log; CREATE TABLE log."Visit" (id int PRIMARY KEY) PARTITION BY RANGE (id);
    CREATE TABLE log.visit_1 PARTITION OF log."Visit" FOR VALUES FROM (0) TO (100);
    CREATE TABLE log.visit_2 PARTITION OF log."Visit" FOR VALUES FROM (100) TO (200) PARTITION BY HASH (id);
    CREATE TABLE log.visit_2a PARTITION OF log.visit_2 FOR VALUES WITH (MODULUS 1, REMAINDER 0);
    INSERT INTO log."Visit" SELECT generate_series(1, 150);
    CREATE TABLE log."odd ""T"".*?$Ü" AS SELECT 1; CREATE TABLE log."odd T" AS SELECT 1;
    CREATE TABLE base (id int); CREATE TABLE heir () INHERITS (base);
    INSERT INTO heir VALUES (1);"""


@all_majors
def test_excluded_tables_restore_empty_with_partitions_and_children(stage: Stage) -> None:
    stage.sql(EXCLUDABLE)
    details = stage.engine.describe(["part", 'log."Visit"', "base", 'log."odd ""T"".*?$Ü"'])
    assert details.excluded_data == (
        "public.part", 'log."Visit"', "log.visit_1", "log.visit_2", "log.visit_2a", "public.base",
        "public.heir", 'log."odd ""T"".*?$Ü"',
    )  # fmt: skip
    stage.make_staging(details=details)
    staging = stage.staging
    left = [*details.excluded_data, "item", 'log."odd T"']
    counts = {table: stage.sql(f"SELECT count(*) FROM {table}", database=staging)[0][0] for table in left}
    assert counts == {**dict.fromkeys(details.excluded_data, 0), "item": 200, 'log."odd T"': 1}


@all_majors
def test_excluding_referenced_table_is_refused(stage: Stage) -> None:
    engine = stage.engine
    with pytest.raises(RefusedError, match=r"public\.item, which rows of public\.part reference"):
        engine.describe(["item"])
    assert engine.describe(["item", "part"]).excluded_data == ("public.item", "public.part")
    stage.sql(EXCLUDABLE)
    stage.sql('CREATE TABLE click (visit int REFERENCES log."Visit"); INSERT INTO click VALUES (5)')
    with pytest.raises(RefusedError, match=r'log\."Visit", which rows of public\.click reference'):
        engine.describe(['log."Visit"'])
    with pytest.raises(RefusedError, match=r"log\.visit_1, which rows of public\.click reference"):
        engine.describe(["log.visit_1"])
    stage.sql("CREATE TABLE seen (visit int REFERENCES log.\"Visit\") PARTITION BY LIST (visit);"
              " CREATE TABLE seen_1 PARTITION OF seen DEFAULT; DROP TABLE click")  # fmt: skip
    with pytest.raises(RefusedError, match=r"public\.seen reference"):
        engine.describe(['log."Visit"'])
    assert "public.seen_1" in engine.describe(['log."Visit"', "seen"]).excluded_data


def test_excluding_table_with_unvalidated_reference_is_allowed(stage: Stage) -> None:
    stage.sql("ALTER TABLE part DROP CONSTRAINT part_item_id_fkey;"
              " ALTER TABLE part ADD FOREIGN KEY (item_id) REFERENCES item NOT VALID")  # fmt: skip
    details = stage.engine.describe(["item"])
    stage.make_staging(details=details)
    assert stage.sql("SELECT count(*) FROM part", database=stage.staging) == [(100,)]


@pytest.mark.parametrize("name", ["nothing", "public.nothing", "a b c", "a.b.c.d", "item_pkey", "", '"'])
def test_excluding_unknown_table_is_refused(stage: Stage, name: str) -> None:
    with pytest.raises(RefusedError, match="EXCLUDE_TABLE_DATA.*not a table"):
        stage.engine.describe([name])


def test_exclude_of_connector_is_applied(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dbbackup.settings.CONNECTORS", {"stage": {"EXCLUDE": ["part"]}})
    assert stage.engine.describe(()).excluded_data == ("public.part",)
