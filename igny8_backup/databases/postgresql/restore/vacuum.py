"""Remove all traces of deleted rows and overwritten values from the files of a sanitized staging database.

Sanitizers are SQL files or functions of the project that remove personal data from a restored copy.

An UPDATE leaves the old row in the file of the table. A materialized view contains copies of values, and so
do the planner's statistics (PostgreSQL docs, "Routine Vacuuming" and ``pg_statistic``). Run the sanitizers
within :func:`triggers_disabled` and call :func:`rewrite` afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from igny8_backup.databases.names import split_table_name
from igny8_backup.databases.postgresql.connections.connection import Connection, sentence
from igny8_backup.databases.postgresql.restore.statistics import analyze
from igny8_backup.databases.quoting import identifier
from igny8_backup.databases.session import DriverError, Session
from igny8_backup.errors import DatabaseError

# The project's triggers. The internal triggers of foreign keys are omitted, because they prevent references
# to missing rows. Triggers of views are omitted, because they implement INSERT and UPDATE there. Triggers of
# an extension's tables are omitted, because they belong to the extension.
_TRIGGERS = """
    SELECT n.nspname, c.relname, t.tgname, t.tgenabled::text FROM pg_trigger t
    JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND c.relkind IN ('r', 'p', 'f')
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                      AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1, 2, 3"""
_ENABLED = {"O": "ENABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}

# The populated materialized views, each after those that it reads, directly or through plain views. The
# rewrite rule of a view depends on the relations that the view reads.
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

# The columns with statistics in empty tables, which ANALYZE skips, so that it keeps their old statistics, and
# in the tables whose schemas and names are the parameters.
_STALE_STATISTICS = """
    SELECT n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
           CASE WHEN a.attcollation <> 0 THEN cn.nspname END, co.collname
    FROM pg_stats s JOIN pg_namespace n ON n.nspname = s.schemaname
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.tablename
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = s.attname
    LEFT JOIN pg_collation co ON co.oid = a.attcollation
    LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND (c.relkind IN ('r', 'm') AND pg_relation_size(c.oid) = 0
           OR (n.nspname, c.relname) IN (SELECT * FROM unnest(%s::text[], %s::text[]))) ORDER BY 1, 2, 3"""


@contextmanager
def triggers_disabled(staging: Connection) -> Iterator[None]:
    """Disable the application's triggers in ``staging`` while the context lasts.

    At the end each trigger is enabled again, in the mode that it had before (such as ENABLE ALWAYS). After a
    failure the triggers stay disabled, because the staging database will be dropped. Setting
    ``session_replication_role`` would be simpler, but few roles may do that, and it also disables foreign
    keys.
    """
    # No transaction for all of them: it would hold a lock on each table.
    with staging.open() as session:
        triggers = session.execute(_TRIGGERS).fetchall()
        for schema, table, name, _ in triggers:
            _set_trigger(session, schema, table, name, "DISABLE")
    yield
    with staging.open() as session:
        for schema, table, name, enabled in triggers:
            _set_trigger(session, schema, table, name, _ENABLED[enabled])


def _set_trigger(session: Session, schema: str, table: str, name: str, action: str) -> None:
    # ONLY, because the trigger of each partition has its own state.
    session.execute(f"ALTER TABLE ONLY {identifier(schema, table)} {action} TRIGGER {identifier(name)}")


def rewrite(staging: Connection) -> dict[str, str]:
    """Refresh materialized views, rewrite every table and collect the planner's statistics again.

    Afterwards no file of the database contains a deleted row or an overwritten value. Returns the tables
    whose statistics could not be collected, each with the reason. Raises :class:`DatabaseError`.
    """
    with staging.open() as session:
        for schema, view in session.execute(_VIEWS).fetchall():
            session.execute(f"REFRESH MATERIALIZED VIEW {identifier(schema, view)}")
        session.execute("VACUUM FULL")
        analysis = analyze(staging)
        kept = [split_table_name(name) for name in (*analysis.failed, *analysis.skipped)]
        names = [[schema for schema, _ in kept], [table for _, table in kept]]
        for schema, table, *column in session.execute(_STALE_STATISTICS, names).fetchall():
            _drop_statistics(session, (schema, table), *column)
        # ANALYZE and ALTER TABLE leave the old statistics in these catalogs as dead rows.
        session.execute("VACUUM FULL pg_catalog.pg_statistic, pg_catalog.pg_statistic_ext_data")
    return analysis.failed


def _drop_statistics(
    session: Session, table: tuple[str, str], column: str, column_type: str, *collation: str | None
) -> None:
    """Drop the planner's statistics of a column, by setting its type to the type that it already has.

    ``table`` and ``collation`` each consist of a schema and a name; both parts of ``collation`` are ``None``
    if the type has no collation. Source: PostgreSQL docs, ALTER TABLE.
    """
    collate = f" COLLATE {identifier(*filter(None, collation))}" if collation[0] else ""
    altered = f"ALTER COLUMN {identifier(column)} TYPE {column_type}{collate}"
    try:
        session.execute(f"ALTER TABLE ONLY {identifier(*table)} {altered}")
    except DriverError as error:
        raise DatabaseError(
            f"The table {'.'.join(table)} is empty or cannot be analyzed, but the planner's statistics of"
            f" its column {column} still hold values of deleted rows and could not be dropped:"
            f" {sentence(error)}.",
            unchanged="The live database was not changed.",
            hint="Let a sanitizer leave one row in the table, and remove what makes ANALYZE fail, so that"
            " ANALYZE replaces the statistics.",
        ) from None
