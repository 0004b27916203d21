"""The edits and the table of ``benchmarks.month_storage``."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from demo.server import PostgresServer

from benchmarks.database_data import TABLES, fill
from benchmarks.month_edits import edits
from benchmarks.month_keepers import Ours, Restic
from benchmarks.month_storage import Found, table
from benchmarks.options import QUICK

A_DAY = 4


@pytest.mark.slow
def test_edits_of_a_day_change_the_announced_share_of_each_table(pg: PostgresServer) -> None:
    pg.create_database("month_edits")
    try:
        with pg.connect("month_edits") as connection:
            fill(connection, QUICK)
            before, before_keys = counts(connection), keys(connection)
            for number in range(A_DAY):
                for statement in edits(number, a_day=A_DAY, column_at=2):
                    connection.execute(statement.encode())
            after = counts(connection)
            (corrected,) = rows(
                connection, "SELECT count(*) FROM bench_article WHERE title ~ ' [(][0-9]+[)]$'"
            )
            after_keys = keys(connection)
            (columns,) = rows(
                connection,
                "SELECT count(*) FROM information_schema.columns"
                " WHERE table_name = 'bench_event' AND column_name = 'reviewed'",
            )
    finally:
        pg.drop_database("month_edits")
    for name in ("bench_ledger", "bench_event", "bench_article"):
        assert after[name] - before[name] == pytest.approx(before[name] * 0.004, abs=4)
    assert after["bench_session"] == before["bench_session"]
    assert len(before_keys - after_keys) == pytest.approx(before["bench_session"] / 14, rel=0.2)
    assert corrected == pytest.approx(before["bench_article"] * 0.005, abs=4)
    assert columns == 1


def counts(connection: psycopg.Connection[tuple[Any, ...]]) -> dict[str, int]:
    return {one.name: rows(connection, f"SELECT count(*) FROM {one.name}")[0] for one in TABLES}


def keys(connection: psycopg.Connection[tuple[Any, ...]]) -> set[Any]:
    return {key for (key,) in connection.execute("SELECT key FROM bench_session").fetchall()}


def rows(connection: psycopg.Connection[tuple[Any, ...]], query: str) -> tuple[int, ...]:
    found = connection.execute(query.encode()).fetchone()
    assert found
    return found


def test_table_judges_the_last_day() -> None:
    days = [
        {Ours.title: 5_000_000, Restic.title: 10_000_000},
        {Ours.title: 7_000_000, Restic.title: 20_000_000},
    ]
    found = Found(days=days, backups=8, restored={Ours.title: 4, Restic.title: 3})
    text = table(found)
    assert "| day 1 | 5.0 | 10.0 | 0.500 |" in text and "| day 2 | 7.0 | 20.0 | 0.350 |" in text
    assert "at the end: met." in text and f"4 of {Ours.title}" in text
    found.days.reverse()
    assert "**missed**" in table(found)
