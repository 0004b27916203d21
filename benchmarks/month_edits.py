"""What an application writes between two backups of ``benchmarks.month_storage``, as SQL.

A day brings 0.4 % new rows in the ledger, 0.4 % new events, 0.4 % new and 0.5 % updated articles, as in
``benchmarks.chunks``. Of the sessions, which live for two weeks, one in fourteen ends and is replaced,
anywhere in the table. Once a table gets a new column, which is in each of its rows. Old rows are vacuumed
once a day, so that new ones take their places.
"""

from __future__ import annotations

from collections.abc import Iterator


def edits(number: int, *, a_day: int, column_at: int) -> Iterator[str]:
    """Yield the statements before run ``number`` (from 0), if there are ``a_day`` runs a day.

    Before the run ``column_at`` a table gets a new column.
    """
    inserted, updated, ended = (
        f"{column} % {every} = {number * 7919 % every}"
        for column, every in (
            ("id", 250 * a_day),
            ("id", 200 * a_day),
            ("(hashtext(account::text) & 65535)", 14 * a_day),
        )
    )
    yield (
        f"INSERT INTO bench_ledger SELECT {_new_id('bench_ledger')}, account_id, happened, kind,"
        f" amount + 1, balance, reference FROM bench_ledger WHERE {inserted}"
    )
    yield (
        f"INSERT INTO bench_event SELECT {_new_id('bench_event')}, happened, kind,"
        f" payload || jsonb_build_object('seen', {number}) FROM bench_event WHERE {inserted}"
    )
    yield f"UPDATE bench_article SET title = title || ' ({number})' WHERE {updated}"
    yield (
        f"INSERT INTO bench_article SELECT {_new_id('bench_article')}, site_id, 'run-{number}-' || id, title,"
        f" reverse(body), published FROM bench_article WHERE {inserted}"
    )
    uuids = (f"md5({column}::text || '{number}')::uuid" for column in ("key", "account", "token"))
    yield (
        f"WITH ended AS (DELETE FROM bench_session WHERE {ended} RETURNING *)"
        f" INSERT INTO bench_session SELECT {', '.join(uuids)}, created, expires FROM ended"
    )
    if number == column_at:
        yield "ALTER TABLE bench_event ADD COLUMN reviewed boolean NOT NULL DEFAULT false"
    if number % a_day == 0:
        yield "VACUUM"


def _new_id(table: str) -> str:
    return f"(SELECT max(id) FROM {table}) + row_number() OVER ()"
