"""Export a snapshot that several sessions share, and lock the tables that it shows.

A snapshot does not lock tables. If a table is truncated or rewritten after the export, a session that imports
the snapshot later sees an empty table, without an error. So the exporting session first locks every table.
Export and locks also work on a replica (PostgreSQL docs, 26.4.1).
"""

from __future__ import annotations

from itertools import islice
from typing import Any

from igny8_backup.databases.postgresql.lock_table import read_lock_table
from igny8_backup.databases.quoting import identifier, literal
from igny8_backup.databases.session import (
    DeadlockDetected,
    DriverError,
    InsufficientPrivilege,
    Session,
    UnknownTable,
)
from igny8_backup.errors import DatabaseError

ATTEMPTS = 10
BATCH = 500
"""The number of tables in one LOCK statement."""

BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

# A role cannot lock a table that it may not read; pg_dump reports such a table.
_READABLE = """
    SELECT c.oid, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') ORDER BY 1"""

# Errors that mean that a table was dropped or renamed, or a privilege revoked, after the tables were listed.
_TABLES_CHANGED = (UnknownTable, InsufficientPrivilege, DeadlockDetected)

_LOCK_TABLE_FULL = "53200"  # out_of_memory
_OTHER_LOCKS = 300  # of catalogs, and of sessions that start later

# Every role may see the application name, role and process number of a session (PostgreSQL docs, 27.2.3). A
# prepared transaction can hold locks without a session; its process number is 0 (9.27).
_LOCK_HOLDERS = """
    SELECT holder, coalesce(min(b.application_name), ''), coalesce(min(b.usename::text), ''),
      coalesce(min(b.backend_type), ''), coalesce(min(l.relation::regclass::text), '')
    FROM pg_stat_activity w CROSS JOIN unnest(pg_blocking_pids(w.pid)) holder
    LEFT JOIN pg_stat_activity b ON b.pid = holder
    LEFT JOIN pg_locks l ON l.pid = w.pid AND NOT l.granted
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    WHERE w.datname = current_database() AND split_part(w.application_name, ' ', 1) = 'igny8_backup'
    GROUP BY holder ORDER BY holder"""


def export_snapshot(session: Session) -> str:
    """Begin a transaction in ``session`` that locks every readable table, and export its snapshot.

    The locks and the snapshot last as long as the transaction. Waits for conflicting locks without a time
    limit. Raises :class:`DatabaseError` if each attempt fails because tables were created or dropped, or if
    the server has no room for so many locks.
    """
    for _ in range(ATTEMPTS):
        tables = session.execute(_READABLE).fetchall()
        session.execute(BEGIN)
        try:
            _lock(session, tables)
            # The first query of a transaction fixes its snapshot, so it must follow the locks.
            (snapshot,) = session.execute("SELECT pg_export_snapshot()").fetchone() or ("",)
            if session.execute(_READABLE).fetchall() == tables:
                return str(snapshot)
        except _TABLES_CHANGED:
            pass
        except DriverError as error:
            if error.sqlstate != _LOCK_TABLE_FULL:
                raise
            session.execute("ROLLBACK")
            raise DatabaseError(
                f"The server has no room for a lock on each of the {len(tables)} tables of this database.",
                unchanged="Nothing was dumped.",
                hint=locks_hint(session, len(tables)),
            ) from None
        session.execute("ROLLBACK")
    raise DatabaseError(
        f"Tables were created, renamed or dropped during each of {ATTEMPTS} attempts to lock all of them.",
        unchanged="Nothing was dumped.",
        hint="Run the backup again when no migration is running.",
    )


def locks_hint(session: Session, tables: int) -> str:
    """Return how to make room in the server's lock table for a dump of a database with ``tables`` tables.

    ``session`` must hold no locks.
    """
    # The session that exports the snapshot holds each lock, and so does pg_dump.
    setting = read_lock_table(session).setting_for(tables + _OTHER_LOCKS, shared=True)
    return (
        f"As a superuser, run ALTER SYSTEM SET max_locks_per_transaction = {setting}; and restart the server"
        " (managed servers: in the parameter group)."
    )


def import_snapshot(session: Session, snapshot: str) -> None:
    """Begin a transaction in ``session`` that uses the exported ``snapshot``.

    The transaction that exported the snapshot must still be open.
    """
    session.execute(BEGIN)
    session.execute(f"SET TRANSACTION SNAPSHOT {literal(snapshot)}")


def lock_holders(session: Session) -> str:
    """Describe in a sentence which sessions hold locks that sessions of this package wait for.

    The result is empty if no session of this package waits for a lock.
    """
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
    # ONLY, because the list contains the partitions too.
    while batch := list(islice(names, BATCH)):
        listed = ", ".join(f"ONLY {name}" for name in batch)
        session.execute(f"LOCK TABLE {listed} IN ACCESS SHARE MODE")
