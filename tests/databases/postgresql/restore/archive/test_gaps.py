"""Archives from which ranges are lost: every table whose rows are complete is restored, and only those."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from demo.server import PostgresServer

from igny8_backup.databases.postgresql.restore.archive.gaps import find_lost, without_lost
from igny8_backup.databases.postgresql.restore.archive.toc import read_contents
from igny8_backup.databases.values import LostData, RestoreSelection
from igny8_backup.errors import IntegrityError
from igny8_backup.streams import Gap, Pieces
from tests.databases.stage import Stage, blocks_of

SCHEMA = """
    CREATE TABLE a (id int PRIMARY KEY, words text);
    CREATE TABLE b (id int PRIMARY KEY, a_id int REFERENCES a);
    CREATE TABLE c_empty (id int);
    CREATE TABLE d (id int PRIMARY KEY, b_id int REFERENCES b, up int REFERENCES d);
    CREATE TABLE e (day date) PARTITION BY RANGE (day);
    CREATE TABLE e_2025 PARTITION OF e FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
    CREATE MATERIALIZED VIEW of_a AS SELECT count(*) FROM a;
    CREATE MATERIALIZED VIEW of_d AS SELECT count(*) FROM d;
    INSERT INTO a SELECT n, 'row of a ' || n FROM generate_series(1, 300) n;
    INSERT INTO b SELECT n, n FROM generate_series(1, 300) n;
    INSERT INTO d SELECT n, n, n FROM generate_series(1, 300) n;
    INSERT INTO e SELECT '2025-01-01'::date + n FROM generate_series(1, 300) n;
    SELECT lo_from_bytea(0, convert_to(repeat('object', 200), 'UTF8')), lo_from_bytea(0, '\\x0001');"""
TABLES = ["public.a", "public.b", "public.c_empty", "public.d", "public.e_2025"]


@pytest.fixture
def stage(postgres_18: PostgresServer, make_stage: Callable[..., Stage]) -> Stage:
    made: Stage = make_stage(postgres_18)
    made.create(SCHEMA)
    return made


def cut(data: bytes, *gaps: tuple[int, int]) -> Pieces:
    """Yield ``data`` in pieces of odd sizes, without the ranges ``gaps`` (begin and end)."""
    at = 0
    for begin, end in gaps:
        yield from (data[start : min(start + 777, begin)] for start in range(at, begin, 777))
        yield Gap(end - begin)
        at = end
    yield from (data[start : start + 777] for start in range(at, len(data), 777))


def places(data: bytes) -> dict[str, tuple[int, int]]:
    """Return where the data of each table begin and end, header and final zero included."""
    contents = read_contents(blocks_of(data))
    starts: list[tuple[str, int]] = []
    for entry in contents.entries:
        if entry.kind in ("TABLE DATA", "BLOBS"):
            kind = b"\1" if entry.kind == "TABLE DATA" else b"\3"
            header = kind + b"\0" + entry.number.to_bytes(4, "little")
            begin = contents.end if not starts else data.index(bytes(5) + header, starts[-1][1]) + 5
            starts.append((f"{entry.schema}.{entry.name}" if kind == b"\1" else "objects", begin))
    ends = [begin for _, begin in starts[1:]] + [len(data)]
    return {name: (begin, end) for (name, begin), end in zip(starts, ends, strict=True)}


def test_find_lost_names_the_tables_that_a_gap_touches_and_no_others(stage: Stage) -> None:
    data = b"".join(stage.engine.dump(stage.engine.describe(())))
    found = places(data)
    assert list(found)[:5] == TABLES and "objects" in found
    assert find_lost(cut(data)) == LostData(found=frozenset(found.keys() - {"objects"}))
    first, draw = found["public.a"][0], random.Random(18)
    for _ in range(400):
        gaps, at = [], first
        for _ in range(draw.choice([1, 1, 2, 3])):
            begin = draw.randrange(at, len(data))
            end = min(len(data), begin + draw.choice([1, 5, 9, 100, 3000]))
            gaps.append((begin, end))
            at = end
            if at >= len(data):
                break
        touched = {
            name
            for name, (start, stop) in found.items()
            if any(begin < stop and start < end for begin, end in gaps)
        }
        lost = find_lost(cut(data, *gaps))
        named = {*lost.tables} | ({"objects"} if lost.large_objects else set())
        assert named == touched, gaps
        rest = b"".join(without_lost(cut(data, *gaps), lost))
        kept = [data[start:stop] for name, (start, stop) in found.items() if name not in named]
        assert rest == data[:first] + b"".join(kept), gaps


def test_gap_in_the_table_of_contents_is_an_error(stage: Stage) -> None:
    data = b"".join(stage.engine.dump(stage.engine.describe(())))
    with pytest.raises(IntegrityError, match="its table of contents is in a damaged pack"):
        find_lost(cut(data, (1000, 1001)))
    begin, _ = places(data)["public.b"]
    with pytest.raises(IntegrityError, match="more of it is lost than before"):
        list(without_lost(cut(data, (begin + 20, begin + 21)), LostData()))


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_load_without_lost_rows_restores_all_other_tables(stage: Stage, jobs: int) -> None:
    details = stage.engine.describe(())
    data = b"".join(stage.engine.dump(details))
    where = places(data)
    (in_a, _), (in_e, _) = where["public.a"], where["public.e_2025"]
    gaps = [(in_a + 500, in_a + 600), (in_e + 50, in_e + 51)]
    lost = find_lost(cut(data, *gaps))
    assert lost.tables == ("public.a", "public.e_2025") and not lost.large_objects
    lost = LostData(packs=frozenset({"one"}), entries=lost.entries, tables=lost.tables)
    stage.engine.create_staging(stage.staging, details)
    left_out = stage.engine.load(
        stage.staging,
        without_lost(cut(data, *gaps), lost),
        jobs=jobs,
        selection=RestoreSelection(lost=lost),
    )
    counts = stage.sql(
        "SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b), (SELECT count(*) FROM d),"
        " (SELECT count(*) FROM e), (SELECT count FROM of_d), (SELECT count(*) FROM pg_largeobject_metadata)",
        database=stage.staging,
    )
    assert counts == [(0, 300, 300, 0, 300, 2)]
    query = "SELECT conname FROM pg_constraint WHERE contype = 'f' ORDER BY 1"
    keys = stage.sql(query, database=stage.staging)
    assert keys == [("d_b_id_fkey",), ("d_up_fkey",)], "only the key to a table without rows is missing"
    assert [text.rsplit(" ", 1)[0] for text in left_out] == [
        "TABLE DATA public a",
        "TABLE DATA public e_2025",
        "FK CONSTRAINT public b b_a_id_fkey",
        "MATERIALIZED VIEW DATA public of_a",
    ]
