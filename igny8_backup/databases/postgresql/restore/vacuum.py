"""Prepare a staging database for sanitizers, and remove what they deleted or changed from its files.

An UPDATE leaves the old row in the table's file, a materialized view holds copies, and the planner's
statistics hold the most common values and histogram bounds (PostgreSQL docs, 25.1 and 53.51).
:func:`triggers_disabled` surrounds the sanitizers, :func:`rewrite` follows them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from igny8_backup.databases.postgresql.connection import Connection, sentence
from igny8_backup.databases.postgresql.quoting import identifier
from igny8_backup.databases.session import DriverError, Session
from igny8_backup.errors import DatabaseError

# Not the internal triggers of foreign keys: a sanitizer must not leave references to missing rows. Not those
# of views, which replace the view's own INSERT and UPDATE. Not those of an extension's tables.
_TRIGGERS = """
    SELECT n.nspname, c.relname, t.tgname, t.tgenabled::text FROM pg_trigger t
    JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND c.relkind IN ('r', 'p', 'f')
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                      AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1, 2, 3"""
_ENABLED = {"O": "ENABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}

# Materialized views in the order in which they read one another, also through plain views. A view depends on
# what it reads through its rewrite rule. Views that are not populated stay so.
_VIEWS = """
    WITH RECURSIVE reads(reader, read) AS (
      SELECT DISTINCT r.ev_class, d.refobjid FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
      WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
        AND r.ev_class <> d.refobjid),
    depths(view, depth) AS (
      SELECT oid, 0 FROM pg_class WHERE relkind IN ('m', 'v')
      UNION SELECT reads.reader, depth + 1 FROM depths JOIN reads ON reads.read = depths.view)
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN (SELECT view, max(depth) AS depth FROM depths GROUP BY 1) d ON d.view = c.oid
    WHERE c.relkind = 'm' AND c.relispopulated ORDER BY d.depth, 1, 2"""

# Columns with statistics in tables without rows: ANALYZE skips an empty table and keeps its old statistics.
_STALE_STATISTICS = """
    SELECT c.relkind::text, n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
           CASE WHEN a.attcollation <> 0 THEN cn.nspname END, co.collname
    FROM pg_stats s JOIN pg_namespace n ON n.nspname = s.schemaname
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.tablename
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = s.attname
    LEFT JOIN pg_collation co ON co.oid = a.attcollation
    LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
    WHERE c.relkind IN ('r', 'm') AND pg_relation_size(c.oid) = 0 AND n.nspname !~ '^pg_'
      AND n.nspname <> 'information_schema' ORDER BY 2, 3, 4"""


@contextmanager
def triggers_disabled(staging: Connection) -> Iterator[None]:
    """Disable the project's triggers while the context lasts; restore the state of each afterwards.

    After a failure they stay disabled: the staging database is dropped then. ``session_replication_role``
    would be simpler, but few roles may set it, and it would disable foreign keys as well.
    """
    with staging.open() as session, session.transaction():
        triggers = session.execute(_TRIGGERS).fetchall()
        for schema, table, name, _ in triggers:
            _set_trigger(session, schema, table, name, "DISABLE")
    yield
    with staging.open() as session, session.transaction():
        for schema, table, name, enabled in triggers:
            _set_trigger(session, schema, table, name, _ENABLED[enabled])


def _set_trigger(session: Session, schema: str, table: str, name: str, action: str) -> None:
    # ONLY: the trigger of a partition has its own state.
    session.execute(f"ALTER TABLE ONLY {identifier(schema, table)} {action} TRIGGER {identifier(name)}")


def rewrite(staging: Connection) -> None:
    """Refresh materialized views, rewrite every table, and collect the statistics again.

    Afterwards no file of the database holds a row, or a value of one, that was deleted or changed. Raises
    :class:`DatabaseError`.
    """
    with staging.open() as session:
        for schema, view in session.execute(_VIEWS).fetchall():
            session.execute(f"REFRESH MATERIALIZED VIEW {identifier(schema, view)}")
        session.execute("VACUUM FULL")
        for kind, schema, table, column, *rest in session.execute(_STALE_STATISTICS).fetchall():
            _drop_statistics(session, kind, (schema, table), column, *rest)
        session.execute("ANALYZE")
        # ANALYZE and ALTER have left the old statistics in these catalogs as dead rows.
        session.execute("VACUUM FULL pg_catalog.pg_statistic, pg_catalog.pg_statistic_ext_data")


def _drop_statistics(
    session: Session,
    kind: str,
    table: tuple[str, str],
    column: str,
    column_type: str,
    *collation: str | None,
) -> None:
    """Drop the statistics of a column. Setting its type does that (PostgreSQL docs, ALTER TABLE)."""
    collate = f" COLLATE {identifier(*filter(None, collation))}" if collation[0] else ""
    statement = (
        f"ALTER TABLE ONLY {identifier(*table)} ALTER COLUMN {identifier(column)} TYPE {column_type}{collate}"
    )
    try:
        session.execute(statement)
    except DriverError as error:
        raise DatabaseError(
            f"The table {'.'.join(table)} is empty, but the planner's statistics of its column {column} still"
            f" hold values of deleted rows and could not be dropped: {sentence(error)}.",
            unchanged="The live database was not changed.",
            hint="Let a sanitizer leave one row in the table, so that ANALYZE replaces the statistics.",
        ) from None
