"""Collect the planner's statistics of a restored database, without touching foreign tables.

A plain ``ANALYZE`` is not used. It would read foreign tables that are partitions or children of other tables,
and so contact their servers (PostgreSQL docs, ANALYZE). It would also end at the first table that fails.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Thread

from igny8_backup.databases.names import table_name
from igny8_backup.databases.postgresql.connections.connection import Connection, sentence
from igny8_backup.databases.postgresql.roles.limits import possible_jobs
from igny8_backup.databases.quoting import identifier
from igny8_backup.databases.session import DriverError, Session
from igny8_backup.errors import DatabaseError

# The tables that ANALYZE without arguments processes, except those of the whole server. The last column is
# true for a table with a foreign table among its partitions or children, at any depth.
_TABLES = """
    WITH RECURSIVE family(oid) AS (
      SELECT oid FROM pg_class WHERE relkind = 'f'
      UNION SELECT i.inhparent FROM pg_inherits i JOIN family f ON f.oid = i.inhrelid)
    SELECT n.nspname, c.relname, f.oid IS NOT NULL
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN family f ON f.oid = c.oid
    WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't' AND NOT c.relisshared
    ORDER BY pg_relation_size(c.oid) DESC, 1, 2"""


@dataclass
class Analysis:
    """The tables that failed, each with the reason, and those that were skipped because of foreign tables."""

    failed: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


def analyze(connection: Connection, jobs: int = 1) -> Analysis:
    """Analyze each table of the database that has no foreign tables among its partitions or children.

    The other tables are skipped, because ANALYZE would read the foreign tables, even with ONLY. At most
    ``jobs`` sessions of ``connection`` work at the same time. Raises ``DatabaseError`` only if there is no
    connection, or if the only one left is lost.
    """
    found = Analysis()
    waiting: deque[tuple[str, str]] = deque()
    with connection.open() as session:
        for schema, table, reaches_foreign in session.execute(_TABLES).fetchall():
            if reaches_foreign:
                found.skipped.append(table_name(schema, table))
            else:
                waiting.append((schema, table))
        jobs = min(possible_jobs(session, jobs), len(waiting) or 1)

        def help_out() -> None:
            # This session does what is left if another one is refused or lost.
            with suppress(DatabaseError), connection.open() as other:
                _analyze_waiting(other, waiting, found)

        helpers = [Thread(target=help_out, name="analyze") for _ in range(jobs - 1)]
        try:
            for helper in helpers:
                helper.start()
            _analyze_waiting(session, waiting, found)
        except BaseException:
            waiting.clear()
            raise
        finally:
            for helper in helpers:
                helper.join()
        _analyze_waiting(session, waiting, found)
    return found


def _analyze_waiting(session: Session, waiting: deque[tuple[str, str]], found: Analysis) -> None:
    """Analyze the tables ``waiting`` until none is left. If the session is lost, put the table back."""
    while True:
        try:
            schema, table = waiting.popleft()  # other threads take tables, too
        except IndexError:
            return
        try:
            session.execute(f"ANALYZE {identifier(schema, table)}")
        except DriverError as error:
            if session.closed:
                waiting.append((schema, table))
                raise
            found.failed[table_name(schema, table)] = f"{sentence(error)}."
