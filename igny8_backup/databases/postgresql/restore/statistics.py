"""Collect the planner's statistics of a restored database, without touching foreign tables.

A plain ``ANALYZE`` is not used. It would read foreign tables that are partitions or children of other tables,
and so contact their servers (PostgreSQL docs, ANALYZE). It would also end at the first table that fails.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from igny8_backup.databases.names import table_name
from igny8_backup.databases.postgresql.connections.connection import sentence
from igny8_backup.databases.quoting import identifier
from igny8_backup.databases.session import DriverError, Session

# The tables that ANALYZE without arguments processes, except those of the whole server. The last column is
# true for a table with a foreign table among its partitions or children, at any depth.
_TABLES = """
    WITH RECURSIVE family(oid) AS (
      SELECT oid FROM pg_class WHERE relkind = 'f'
      UNION SELECT i.inhparent FROM pg_inherits i JOIN family f ON f.oid = i.inhrelid)
    SELECT n.nspname, c.relname, f.oid IS NOT NULL
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN family f ON f.oid = c.oid
    WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't' AND NOT c.relisshared
    ORDER BY 1, 2"""


@dataclass
class Analysis:
    """The tables that failed, each with the reason, and those that were skipped because of foreign tables."""

    failed: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


def analyze(session: Session) -> Analysis:
    """Analyze each table of the database that has no foreign tables among its partitions or children.

    The other tables are skipped, because ANALYZE would read the foreign tables, even with ONLY. Raises
    ``DriverError`` only if the session is lost.
    """
    found = Analysis()
    for schema, table, reaches_foreign in session.execute(_TABLES).fetchall():
        if reaches_foreign:
            found.skipped.append(table_name(schema, table))
            continue
        try:
            session.execute(f"ANALYZE {identifier(schema, table)}")
        except DriverError as error:
            if session.closed:
                raise
            found.failed[table_name(schema, table)] = f"{sentence(error)}."
    return found
