"""One instant of a database for several sessions.

A snapshot alone holds no locks: a ``TRUNCATE`` or a rewriting ``ALTER`` after it leaves the table empty for
whoever imports it later, and nobody is told. So the session that exports it locks every table before.
A replica takes these locks and exports as well (PostgreSQL docs, 26.4.1).
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import psycopg
from psycopg import sql

from igny8_backup.errors import DatabaseError

ATTEMPTS = 10
BATCH = 500
"""Tables in one statement."""

BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

# What this role may not read it may not lock; pg_dump refuses that itself, if it is to be in the dump.
_READABLE = """
    SELECT c.oid, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') ORDER BY 1"""

_CHANGED = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.WrongObjectType,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.DeadlockDetected,
)

# The name, the role and the number of a session are shown to everybody (PostgreSQL docs, 27.2.3); a prepared
# transaction holds locks without a session and has the number 0 (9.27).
_HOLDERS = """
    SELECT holder, coalesce(min(b.application_name), ''), coalesce(min(b.usename::text), ''),
      coalesce(min(b.backend_type), ''), coalesce(min(l.relation::regclass::text), '')
    FROM pg_stat_activity w CROSS JOIN unnest(pg_blocking_pids(w.pid)) holder
    LEFT JOIN pg_stat_activity b ON b.pid = holder
    LEFT JOIN pg_locks l ON l.pid = w.pid AND NOT l.granted
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    WHERE w.datname = current_database() AND w.application_name = 'igny8_backup'
    GROUP BY holder ORDER BY holder"""


def export_snapshot(session: psycopg.Connection[Any]) -> str:
    """Begins a transaction in ``session`` that holds every table as it is, and exports its snapshot.

    Both last as long as the transaction. It waits for who holds a table, however long. Raises
    :class:`DatabaseError` where tables are made and dropped so fast that no instant can be held.
    """
    for _ in range(ATTEMPTS):
        tables = session.execute(_READABLE).fetchall()
        session.execute(BEGIN)
        try:
            _lock(session, tables)
            # The first query: what it sees is the instant.
            (snapshot,) = session.execute("SELECT pg_export_snapshot()").fetchone() or ("",)
            if session.execute(_READABLE).fetchall() == tables:
                return str(snapshot)
        except _CHANGED:
            pass  # dropped, renamed or taken away since they were listed
        session.execute("ROLLBACK")
    raise DatabaseError(
        f"Tables were made, renamed or dropped in each of {ATTEMPTS} attempts to hold them all.",
        unchanged="Nothing was dumped.",
        hint="Run again when no migration is under way.",
    )


def import_snapshot(session: psycopg.Connection[Any], snapshot: str) -> None:
    """Begins a transaction that sees what the exporting one does, while that lasts."""
    session.execute(BEGIN)
    session.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))


def lock_holders(session: psycopg.Connection[Any]) -> str:
    """Who holds the locks that our sessions in this database wait for: a sentence, empty if none waits."""
    found = []
    for pid, program, role, kind, relation in session.execute(_HOLDERS):
        if pid == 0:
            who = "a prepared transaction (see pg_prepared_xacts)"
        else:
            told = [word for word in (program, f"role {role}" if role else kind) if word]
            who = f"process {pid} ({', '.join(told)}; to end it: SELECT pg_terminate_backend({pid});)"
        found.append(f"a lock{f' on {relation}' if relation else ''} is held by {who}")
    text = "; ".join(found)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _lock(session: psycopg.Connection[Any], tables: list[tuple[Any, ...]]) -> None:
    names = (sql.Identifier(schema, name) for _, schema, name in tables)
    # Each by itself: a partition is in the list as well.
    while batch := list(islice(names, BATCH)):
        listed = sql.SQL(", ").join(sql.SQL("ONLY {}").format(name) for name in batch)
        session.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(listed))
