"""Count rows and run probes, in a database that is dumped and again in what is restored from the dump.

A probe is a query from the settings whose answer must be the same in both. :func:`ask` is the entry point.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import psycopg
from psycopg import sql

from igny8_backup.databases.names import split_table_name
from igny8_backup.databases.postgresql.connection import sentence
from igny8_backup.databases.values import COUNTED_TO, Answers, Row
from igny8_backup.formats.details import Probe

MOST_ROWS = 100
"""The most rows that a probe may return."""

# With row_security off, a table with hidden rows is an error instead of a wrong answer, as for pg_dump.
FIXED = """
    SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL IntervalStyle = 'postgres';
    SET LOCAL bytea_output = 'hex'; SET LOCAL lc_monetary = 'C'; SET LOCAL row_security = off"""
"""Fix, for one transaction, the settings that the text of an answer depends on."""

# float4, float8 and their arrays (pg_type.dat): a sum of floats depends on the order of the rows.
_FLOATS = {700, 701, 1021, 1022}


class _NotComparable(Exception):
    """The answer cannot be compared; the text says why."""


def ask(
    session: psycopg.Connection[Any],
    tables: Iterable[str],
    queries: Mapping[str, str],
    *,
    counted_to: int = COUNTED_TO,
    snapshot: str = "",
) -> Answers:
    """Count the rows of ``tables`` and run ``queries``, which map the names of probes to SQL.

    ``tables`` are ``schema.table`` names; rows of partitions and inheriting tables are not included.
    ``session`` must be in a read-only transaction. ``snapshot`` is recorded in the result. Failing probes are
    reported in the result; only a lost session raises ``psycopg.Error``.
    """
    session.execute(FIXED)
    counts, found, failed, denied = {}, [], {}, []
    for table in tables:
        try:
            with session.transaction():
                counts[table] = _count(session, table, counted_to)
        except psycopg.errors.InsufficientPrivilege:
            pass
    for name, query in queries.items():
        try:
            with session.transaction():
                found.append(Probe(name=name, query=query, rows=_rows(session, query)))
        except psycopg.errors.InsufficientPrivilege:
            denied.append(name)
        except _NotComparable as error:
            failed[name] = str(error)
        except psycopg.Error as error:
            if session.closed:
                raise
            failed[name] = f"{sentence(error)}."
    return Answers(
        snapshot=snapshot,
        row_counts=counts,
        probes=tuple(found),
        failed=failed,
        denied=tuple(denied),
    )


def _count(session: psycopg.Connection[Any], table: str, most: int) -> int:
    query = sql.SQL("SELECT count(*) FROM (SELECT FROM ONLY {} LIMIT {}) AS counted").format(
        sql.Identifier(*split_table_name(table)), sql.Literal(most + 1)
    )
    (number,) = session.execute(query).fetchone() or (0,)
    return int(number)


def _rows(session: psycopg.Connection[Any], query: str) -> tuple[Row, ...]:
    """Return the answer as text, with its rows sorted: the server does not guarantee their order."""
    # A cursor accepts one query that writes nothing. ``binary`` chooses the extended query protocol, which
    # accepts one statement only (PostgreSQL docs, 54.2.3).
    session.execute(f"DECLARE igny8_backup_probe NO SCROLL CURSOR FOR {query}".encode(), binary=True)
    cursor = session.execute(f"FETCH {MOST_ROWS + 1} FROM igny8_backup_probe".encode())
    result = cursor.pgresult
    if result is None:
        raise _NotComparable("It returns no rows.")
    for number in range(result.nfields):
        if result.ftype(number) in _FLOATS:
            name = (result.fname(number) or b"").decode(errors="replace")
            raise _NotComparable(
                f"The column {name!r} is a float, which may differ in its last digit: cast it to numeric."
            )
    if result.ntuples > MOST_ROWS:
        raise _NotComparable(f"It returns more than {MOST_ROWS} rows: count them, or add them up.")

    def text(row: int, column: int) -> str | None:
        value = result.get_value(row, column)
        return None if value is None else value.decode(session.info.encoding, "backslashreplace")

    rows = [tuple(text(row, column) for column in range(result.nfields)) for row in range(result.ntuples)]
    session.execute("CLOSE igny8_backup_probe")
    return tuple(sorted(rows, key=lambda row: [(value is not None, value or "") for value in row]))
