"""Export a snapshot that several sessions share, and lock the tables that it shows.

A snapshot alone locks nothing: a ``TRUNCATE`` or a rewriting ``ALTER`` after the export leaves the table
empty for a session that imports the snapshot later, without an error. So the exporting session first locks
every table. A replica can do both, too (PostgreSQL docs, 26.4.1).
"""

from __future__ import annotations

from itertools import islice
from typing import Any

from igny8_backup.databases.postgresql.quoting import identifier, literal
from igny8_backup.databases.session import DeadlockDetected, InsufficientPrivilege, Session, UnknownTable
from igny8_backup.errors import DatabaseError

ATTEMPTS = 10
BATCH = 500
"""Tables in one LOCK statement."""

BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

# A role cannot lock what it may not read. If such a table is to be dumped, pg_dump reports it.
_READABLE = """
    SELECT c.oid, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') ORDER BY 1"""

# Raised if a table was dropped, renamed or its privileges revoked since the tables were listed.
_TABLES_CHANGED = (UnknownTable, InsufficientPrivilege, DeadlockDetected)

# Every role may see name, role and process number of a session (PostgreSQL docs, 27.2.3). A prepared
# transaction holds locks without a session and has the process number 0 (9.27).
_LOCK_HOLDERS = """
    SELECT holder, coalesce(min(b.application_name), ''), coalesce(min(b.usename::text), ''),
      coalesce(min(b.backend_type), ''), coalesce(min(l.relation::regclass::text), '')
    FROM pg_stat_activity w CROSS JOIN unnest(pg_blocking_pids(w.pid)) holder
    LEFT JOIN pg_stat_activity b ON b.pid = holder
    LEFT JOIN pg_locks l ON l.pid = w.pid AND NOT l.granted
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    WHERE w.datname = current_database() AND w.application_name = 'igny8_backup'
    GROUP BY holder ORDER BY holder"""


def export_snapshot(session: Session) -> str:
    """Begin a transaction in ``session`` that locks every readable table, and export its snapshot.

    Locks and snapshot last as long as the transaction. Waits without limit for conflicting locks. Raises
    :class:`DatabaseError` if tables are created and dropped so often that no attempt succeeds.
    """
    for _ in range(ATTEMPTS):
        tables = session.execute(_READABLE).fetchall()
        session.execute(BEGIN)
        try:
            _lock(session, tables)
            # The first query of the transaction: it fixes the snapshot.
            (snapshot,) = session.execute("SELECT pg_export_snapshot()").fetchone() or ("",)
            if session.execute(_READABLE).fetchall() == tables:
                return str(snapshot)
        except _TABLES_CHANGED:
            pass
        session.execute("ROLLBACK")
    raise DatabaseError(
        f"Tables were created, renamed or dropped during each of {ATTEMPTS} attempts to lock all of them.",
        unchanged="Nothing was dumped.",
        hint="Run again when no migration is running.",
    )


def import_snapshot(session: Session, snapshot: str) -> None:
    """Begin a transaction in ``session`` that sees what the exporting transaction, still open, sees."""
    session.execute(BEGIN)
    session.execute(f"SET TRANSACTION SNAPSHOT {literal(snapshot)}")


def lock_holders(session: Session) -> str:
    """Describe in a sentence who holds locks that this package's sessions wait for; empty if none wait."""
    found = []
    for pid, program, role, kind, relation in session.execute(_LOCK_HOLDERS):
        if pid == 0:
            holder = "a prepared transaction (see pg_prepared_xacts)"
        else:
            known = [word for word in (program, f"role {role}" if role else kind) if word]
            holder = f"process {pid} ({', '.join(known)}; to end it: SELECT pg_terminate_backend({pid});)"
        found.append(f"a lock{f' on {relation}' if relation else ''} is held by {holder}")
    text = "; ".join(found)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _lock(session: Session, tables: list[tuple[Any, ...]]) -> None:
    names = (identifier(schema, name) for _, schema, name in tables)
    # ONLY: partitions are in the list themselves.
    while batch := list(islice(names, BATCH)):
        listed = ", ".join(f"ONLY {name}" for name in batch)
        session.execute(f"LOCK TABLE {listed} IN ACCESS SHARE MODE")
