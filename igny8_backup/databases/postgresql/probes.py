"""Questions whose answers must be the same in a database and in what is restored of it."""

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
"""So many rows a probe may answer."""

# The text of a value depends on these. Rows hidden by row-level security are an error, as to pg_dump.
FIXED = """
    SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL IntervalStyle = 'postgres';
    SET LOCAL bytea_output = 'hex'; SET LOCAL lc_monetary = 'C'; SET LOCAL row_security = off"""
"""What the text of an answer depends on, for one transaction."""

# float4, float8 and their arrays (pg_type.dat): the sum of floats depends on the order of the rows.
_FLOATS = {700, 701, 1021, 1022}


class _Refused(Exception):
    """Why an answer cannot be compared."""


def ask(
    session: psycopg.Connection[Any],
    tables: Iterable[str],
    queries: Mapping[str, str],
    *,
    counted_to: int = COUNTED_TO,
    snapshot: str = "",
) -> Answers:
    """Counts the rows of ``tables`` (whole names), each without its partitions and heirs, and asks the
    ``queries`` by name. ``session`` is in a transaction that can write nothing."""
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
        except _Refused as error:
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
    """The answer as text, its rows sorted: their order is the server's affair."""
    # A cursor takes one query and nothing that writes. ``binary`` chooses the protocol that takes no more
    # than one statement (PostgreSQL docs, 54.2.3).
    session.execute(f"DECLARE igny8_backup_probe NO SCROLL CURSOR FOR {query}".encode(), binary=True)
    cursor = session.execute(f"FETCH {MOST_ROWS + 1} FROM igny8_backup_probe".encode())
    result = cursor.pgresult
    if result is None:
        raise _Refused("It has no answer.")
    for number in range(result.nfields):
        if result.ftype(number) in _FLOATS:
            name = (result.fname(number) or b"").decode(errors="replace")
            raise _Refused(
                f"The column {name!r} is a float, which may differ in its last digit: cast it to numeric."
            )
    if result.ntuples > MOST_ROWS:
        raise _Refused(f"It answers more than {MOST_ROWS} rows: count them, or add them up.")

    def text(row: int, column: int) -> str | None:
        value = result.get_value(row, column)
        return None if value is None else value.decode(session.info.encoding, "backslashreplace")

    rows = [tuple(text(row, column) for column in range(result.nfields)) for row in range(result.ntuples)]
    session.execute("CLOSE igny8_backup_probe")
    return tuple(sorted(rows, key=lambda row: [(value is not None, value or "") for value in row]))
