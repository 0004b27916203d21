"""Generate the rows to dump: long texts, JSONB, UUIDs, a ledger, and bytes that do not compress."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from benchmarks.options import FULL, QUICK, TWENTIETH
from benchmarks.texts import Prose, generator

VERSION = 2
"""The version of the data: data of another version is generated again."""

_GATHER = 512  # rows handed to the server at once
_DAY = (b"2026-01-%02d", b"2026-04-%02d", b"2026-07-%02d", b"2026-10-%02d")
_AGENTS = [
    b"Mozilla/5.0 (X11; Linux x86_64; rv:%d.0) Gecko/20100101 Firefox/%d.0" % (n, n) for n in range(90, 146)
]


class Table(NamedTuple):
    """A table: its columns, what is created after the rows, and the number of rows."""

    name: str
    columns: str
    after: tuple[str, ...]
    rows: dict[str, int]
    make: Callable[[Prose, int], Iterator[bytes]]


def _articles(prose: Prose, rows: int) -> Iterator[bytes]:
    choose = generator("articles")
    for number in range(1, rows + 1):
        words = prose.words(choose, choose.randrange(200, 1500))
        body = b"\\n\\n".join(b" ".join(words[start : start + 90]) for start in range(0, len(words), 90))
        title = b" ".join(words[:7])
        yield b"%d\t%d\tarticle-%d\t%b\t%b\t%b\n" % (number, number % 997, number, title, body, _when(number))


def _events(prose: Prose, rows: int) -> Iterator[bytes]:
    choose = generator("events")
    for number in range(1, rows + 1):
        one = prose.words(choose, 33)
        a, b, c, d = array("I", choose.randbytes(16))
        yield (
            b'%d\t%b\t%b\t{"path": "/%b/%b", "agent": "%b", "ip": "10.%d.%d.%d", "ms": %d,'
            b' "visitor": "%08x%08x", "tags": ["%b", "%b", "%b"],'
            b' "query": {"page": %d, "sort": "%b"}, "note": "%b"}\n'
        ) % (
            number,
            _when(number),
            (b"view", b"click", b"order", b"search")[a & 3],
            one[0],
            one[1],
            _AGENTS[b % len(_AGENTS)],
            a >> 8 & 255,
            a >> 16 & 255,
            a >> 24,
            b >> 20,
            c,
            d,
            one[2],
            one[3],
            one[4],
            c & 31,
            one[5],
            b" ".join(one[6:]),
        )


def _sessions(prose: Prose, rows: int) -> Iterator[bytes]:
    choose = generator("sessions")
    for number in range(1, rows + 1):
        keys = choose.randbytes(48).hex().encode("ascii")
        when = _when(number)
        yield b"%b\t%b\t%b\t%b\t%b\n" % (keys[:32], keys[32:64], keys[64:], when, when)


def _ledger(prose: Prose, rows: int) -> Iterator[bytes]:
    choose = generator("ledger")
    kinds = (b"charge", b"payment", b"refund", b"credit")
    for first in range(1, rows + 1, _GATHER):
        numbers = array("I", choose.randbytes(8 * _GATHER))
        for number in range(first, min(first + _GATHER, rows + 1)):
            a, b = numbers[2 * (number - first)], numbers[2 * (number - first) + 1]
            yield b"%d\t%d\t%b\t%b\t%d.%02d\t%d.%02d\tINV-%07d-%04x\n" % (
                number,
                a % 20011,
                _when(number),
                kinds[a >> 30],
                b % 900,
                a % 100,
                b % 90001,
                b % 100,
                number,
                b >> 16,
            )


def _assets(prose: Prose, rows: int) -> Iterator[bytes]:
    choose = generator("assets")
    for number in range(1, rows + 1):
        content = choose.randbytes(choose.randrange(2000, 10000)).hex().encode("ascii")
        yield b"%d\tfile-%d.jpg\t\\\\x%b\n" % (number, number, content)


TABLES = (
    Table(
        "bench_article",
        "id bigint, site_id int, slug text, title text, body text, published timestamptz",
        ("ADD PRIMARY KEY (id)", "ADD UNIQUE (slug)", "INDEX (site_id)"),
        {QUICK: 1200, TWENTIETH: 6200, FULL: 124_000},
        _articles,
    ),
    Table(
        "bench_event",
        "id bigint, happened timestamptz, kind text, payload jsonb",
        ("ADD PRIMARY KEY (id)", "INDEX (happened)"),
        {QUICK: 7000, TWENTIETH: 34_000, FULL: 680_000},
        _events,
    ),
    Table(
        "bench_session",
        "key uuid, account uuid, token uuid, created timestamptz, expires timestamptz",
        ("ADD PRIMARY KEY (key)", "INDEX (account)"),
        {QUICK: 15_000, TWENTIETH: 75_000, FULL: 1_500_000},
        _sessions,
    ),
    Table(
        "bench_ledger",
        "id bigint, account_id int, happened timestamptz, kind text, amount numeric(12,2),"
        " balance numeric(14,2), reference text",
        ("ADD PRIMARY KEY (id)", "INDEX (account_id, happened)"),
        {QUICK: 50_000, TWENTIETH: 250_000, FULL: 5_000_000},
        _ledger,
    ),
    Table(
        "bench_asset",
        "id bigint, name text, content bytea",
        ("ADD PRIMARY KEY (id)",),
        {QUICK: 270, TWENTIETH: 1350, FULL: 27_000},
        _assets,
    ),
)


def fill(connection: psycopg.Connection[Any], scale: str) -> None:
    """Create the tables, rows and indexes in an empty database."""
    prose = Prose()
    for table in TABLES:
        name = sql.Identifier(table.name)
        connection.execute(f"CREATE TABLE {table.name} ({table.columns})".encode())
        rows = table.make(prose, table.rows[scale])
        copy_in = sql.SQL("COPY {} FROM STDIN").format(name)
        with connection.cursor() as cursor, cursor.copy(copy_in) as copy:
            while chunk := b"".join(islice(rows, _GATHER)):
                copy.write(chunk)
        for what in table.after:
            if what.startswith("ADD"):
                connection.execute(f"ALTER TABLE {table.name} {what}".encode())
            else:
                connection.execute(f"CREATE INDEX ON {table.name} {what.removeprefix('INDEX')}".encode())
    # Nothing is left for the first reader of a row to note down in it.
    connection.execute("VACUUM (FREEZE, ANALYZE)")


def _when(number: int) -> bytes:
    day = _DAY[number >> 7 & 3] % (number % 28 + 1)
    return b"%b %02d:%02d:%02d.%06d+00" % (
        day,
        number % 24,
        number % 60,
        number * 7 % 60,
        number * 7919 % 10**6,
    )
