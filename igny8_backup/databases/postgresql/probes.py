"""Count rows and run probes: in a database while it is dumped, and in a database restored from the dump.

A probe is a query from the settings whose result must be the same in both databases. Entry point:
:func:`ask`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from igny8_backup.databases.names import split_table_name
from igny8_backup.databases.postgresql.connections.connection import sentence
from igny8_backup.databases.quoting import identifier
from igny8_backup.databases.session import DriverError, InsufficientPrivilege, Session
from igny8_backup.databases.values import COUNTED_TO, Answers, Row
from igny8_backup.formats.details import Probe

MOST_ROWS = 100
"""The largest number of rows that a probe may return."""

# With row_security off, a query that would not see all rows fails, as in pg_dump, instead of miscounting.
FIXED = """
    SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL IntervalStyle = 'postgres';
    SET LOCAL bytea_output = 'hex'; SET LOCAL lc_monetary = 'C'; SET LOCAL quote_all_identifiers = off;
    SET LOCAL row_security = off"""
"""SQL that fixes the settings on which the text of a result depends, for one transaction."""

# float4, float8 and their arrays (pg_type.dat): a sum of floats depends on the order of the rows.
_FLOATS = {700, 701, 1021, 1022}

# The classes of SQLSTATE of errors whose cause is outside the database that is read (PostgreSQL docs,
# appendix A): connections, deadlocks, resources of the server, objects in use or not filled, its operator,
# its system, its files, foreign servers.
_CAUSES_OUTSIDE = ("08", "40", "53", "55", "57", "58", "F0", "HV")


class _NotComparable(Exception):
    """The result of a probe cannot be compared. The message is the reason."""


def ask(
    session: Session, tables: Iterable[str], queries: Mapping[str, str], counted_to: int = COUNTED_TO
) -> Answers:
    """Count the rows of ``tables`` and run ``queries``, which map the names of probes to SQL.

    ``tables`` are ``schema.table`` names; the rows of their partitions and inheriting tables are not counted.
    Counting stops at ``counted_to + 1`` rows. ``session`` must be in a read-only transaction. A table or
    probe that fails raises no exception: :class:`Answers` documents how the result reports it. Raises
    ``DriverError`` only if the session is lost.
    """
    session.execute(FIXED)
    counts, uncounted, found, denied = {}, {}, [], []
    failed: dict[str, str] = {}
    unasked: dict[str, str] = {}
    for table in tables:
        try:
            # Rolling back to the savepoint releases the locks on the table and its indexes, of which the
            # server's lock table has a limited number. Releasing the savepoint would keep them.
            with session.transaction(rollback=True):
                counts[table] = _count(session, table, counted_to)
        except InsufficientPrivilege:
            pass
        except DriverError as error:
            if session.closed:
                raise
            uncounted[table] = f"{sentence(error)}."
    for name, query in queries.items():
        try:
            with session.transaction(rollback=True):
                found.append(Probe(name=name, query=query, rows=_rows(session, query)))
        except InsufficientPrivilege:
            denied.append(name)
        except _NotComparable as error:
            failed[name] = str(error)
        except DriverError as error:
            if session.closed:
                raise
            outside = error.sqlstate.startswith(_CAUSES_OUTSIDE)
            (unasked if outside else failed)[name] = f"{sentence(error)}."
    return Answers(
        row_counts=counts,
        uncounted=uncounted,
        probes=tuple(found),
        failed=failed,
        unasked=unasked,
        denied=tuple(denied),
    )


def _count(session: Session, table: str, most: int) -> int:
    name = identifier(*split_table_name(table))
    query = f"SELECT count(*) FROM (SELECT FROM ONLY {name} LIMIT {most + 1}) AS counted"  # noqa: S608 - a quoted name
    (number,) = session.execute(query).fetchone() or (0,)
    return int(number)


def _rows(session: Session, query: str) -> tuple[Row, ...]:
    """Return the result of ``query`` as text. The rows are sorted, because the server's order may vary."""
    # A cursor accepts one query that writes nothing.
    session.declare_cursor("igny8_backup_probe", query)
    answer = session.fetch_text("igny8_backup_probe", MOST_ROWS + 1)
    for name, oid in answer.columns:
        if oid in _FLOATS:
            raise _NotComparable(
                f"The column {name!r} is a float, which may differ in its last digit: cast it to numeric."
            )
    if len(answer.rows) > MOST_ROWS:
        raise _NotComparable(
            f"It returns more than {MOST_ROWS} rows: let the query count them or add them up."
        )
    session.execute("CLOSE igny8_backup_probe")
    return tuple(sorted(answer.rows, key=lambda row: [(value is not None, value or "") for value in row]))
