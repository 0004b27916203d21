"""What a PostgreSQL database needs around its sanitizing: triggers off meanwhile, and no old byte left after.

An UPDATE leaves the old row where it was, a view that is materialized holds copies, and the statistics of the
planner hold the most common values and the bounds of histograms (PostgreSQL docs, 25.1, 53.51).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from igny8_backup.databases.postgresql.connection import Connection, sentence
from igny8_backup.errors import DatabaseError

# Those of foreign keys stay (tgisinternal): a sanitizer must not leave rows that point to nothing. Triggers
# of views stand for what the view lacks. Tables of an extension are the extension's.
_TRIGGERS = """
    SELECT n.nspname, c.relname, t.tgname, t.tgenabled::text FROM pg_trigger t
    JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND c.relkind IN ('r', 'p', 'f')
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                      AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1, 2, 3"""
_ENABLED = {"O": "ENABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}

# Views that others read come first. A view is read through its rule; views that are not materialized lie
# between. Those without rows were so before.
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

# ANALYZE passes over a table without rows and keeps what it knew. Statistics of columns are there or not:
# where autovacuum never came, there is nothing to forget.
_REMEMBERED = """
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
def triggers_disabled(side: Connection) -> Iterator[None]:
    """No trigger of the project fires while the context lasts; afterwards each is as it was.

    Not ``session_replication_role``: few roles may set it, and it would switch foreign keys off as well.
    """
    with side.open() as session, session.transaction():
        triggers = session.execute(_TRIGGERS).fetchall()
        for schema, table, name, _ in triggers:
            _set_trigger(session, schema, table, name, "DISABLE")
    yield
    with side.open() as session, session.transaction():
        for schema, table, name, enabled in triggers:
            _set_trigger(session, schema, table, name, _ENABLED[enabled])


def _set_trigger(session: psycopg.Connection[Any], schema: str, table: str, name: str, how: str) -> None:
    # ONLY: a partition's trigger has a state of its own.
    session.execute(
        sql.SQL("ALTER TABLE ONLY {} {} TRIGGER {}").format(
            sql.Identifier(schema, table), sql.SQL(how), sql.Identifier(name)
        )
    )


def rewrite(side: Connection) -> None:
    """Materialized views are refreshed, every table is written anew, and the statistics are of what is there.

    Afterwards no file of the database holds a row, or a value of one, that is gone. Raises
    :class:`DatabaseError`.
    """
    with side.open() as session:
        for schema, view in session.execute(_VIEWS).fetchall():
            session.execute(sql.SQL("REFRESH MATERIALIZED VIEW {}").format(sql.Identifier(schema, view)))
        session.execute("VACUUM FULL")
        for kind, schema, table, column, *rest in session.execute(_REMEMBERED).fetchall():
            _forget(session, kind, (schema, table), column, *rest)
        session.execute("ANALYZE")
        # The old statistics are dead rows now, of catalogs that were written anew before.
        session.execute("VACUUM FULL pg_catalog.pg_statistic, pg_catalog.pg_statistic_ext_data")


def _forget(
    session: psycopg.Connection[Any],
    kind: str,
    table: tuple[str, str],
    column: str,
    kind_of_column: str,
    *collation: str | None,
) -> None:
    """Drops the statistics of a column: ``ALTER COLUMN ... TYPE`` does, even to the same type (PostgreSQL
    docs, ALTER TABLE)."""
    statement = sql.SQL("ALTER TABLE ONLY {} ALTER COLUMN {} TYPE {}{}").format(
        sql.Identifier(*table),
        sql.Identifier(column),
        sql.SQL(kind_of_column),
        sql.SQL(" COLLATE {}").format(sql.Identifier(*filter(None, collation)))
        if collation[0]
        else sql.SQL(""),
    )
    try:
        session.execute(statement)
    except psycopg.Error as error:
        raise DatabaseError(
            f"{'.'.join(table)} has been emptied, and the statistics of its column {column} still hold what"
            f" was in it: {sentence(error)}.",
            unchanged="The live database is as it was.",
            hint="Let a sanitizer leave one row in it, so that they are made anew.",
        ) from None
