"""The swap of two databases: both renames, privileges, connection limit and comments in one transaction.

``ALTER DATABASE ... RENAME`` needs the database without sessions, and its own lock keeps newcomers out
(PostgreSQL docs, ALTER DATABASE). So a second connection ends sessions until the transaction is through.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from igny8_backup.databases.connection import Connection
from igny8_backup.databases.description import database_row, list_privileges
from igny8_backup.manifest import DatabaseDetails, Privilege

_TERMINATE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = ANY (%s) AND pid <> pg_backend_pid()"
)
_PRIVILEGES = ("CONNECT", "CREATE", "TEMPORARY")
_PAUSE = 0.02  # seconds between two rounds of ending sessions


def swap_databases(live: Connection, side: str, before: str, details: DatabaseDetails) -> None:
    """``side`` takes the live name and the live database becomes ``before``: both, or neither."""
    with _nobody_else(live, [live.name, side]), live.maintenance() as session:
        row = database_row(session, live.name)
        privileges = list_privileges(session, live.name) if row else details.privileges
        limit = row["datconnlimit"] if row else details.connection_limit
        comment = row["comment"] if row else details.comment
        with session.transaction():
            if row:
                _rename(session, live.name, before)
                _comment(
                    session, before, f"igny8_backup: what {live.name} was before a restore; undo_restore"
                )
            _rename(session, side, live.name)
            _grant(session, live.name, privileges)
            session.execute(
                sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(
                    sql.Identifier(live.name), sql.Literal(limit)
                )
            )
            _comment(session, live.name, comment)


def swap_back_databases(live: Connection, before: str, aside: str) -> None:
    """The live database becomes ``aside`` and ``before`` takes the live name: both, or neither.

    Where there is no ``before`` (the restore created the database) the live name is free afterwards.
    """
    with _nobody_else(live, [live.name, before]), live.maintenance() as session:
        row = database_row(session, live.name)
        kept = database_row(session, before)
        with session.transaction():
            if row:
                _rename(session, live.name, aside)
                _comment(session, aside, f"igny8_backup: what {live.name} was before undo_restore")
            if kept:
                _rename(session, before, live.name)
                _comment(session, live.name, row["comment"] if row else None)


def _rename(session: psycopg.Connection[Any], name: str, to: str) -> None:
    session.execute(
        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(name), sql.Identifier(to))
    )


def _comment(session: psycopg.Connection[Any], name: str, text: str | None) -> None:
    session.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(text)))


def _grant(session: psycopg.Connection[Any], name: str, privileges: tuple[Privilege, ...] | None) -> None:
    """Gives the database exactly ``privileges``; ``None`` is the server's default: all may connect."""
    database = sql.Identifier(name)
    if privileges is None:
        session.execute(sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO PUBLIC").format(database))
        return
    session.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    for privilege in privileges:
        if privilege.privilege not in _PRIVILEGES:
            continue
        session.execute(
            sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(
                sql.SQL(privilege.privilege),
                database,
                sql.Identifier(privilege.grantee) if privilege.grantee else sql.SQL("PUBLIC"),
                sql.SQL(" WITH GRANT OPTION" if privilege.grantable else ""),
            )
        )


@contextmanager
def _nobody_else(live: Connection, names: list[str]) -> Iterator[None]:
    """Ends the sessions of the databases called ``names``, again and again while the context lasts."""
    done = threading.Event()
    with live.maintenance() as session:
        session.execute(_TERMINATE, [names])

        def evict() -> None:
            try:
                while not done.wait(_PAUSE):
                    session.execute(_TERMINATE, [names])
            except psycopg.Error:
                # The rename itself reports the sessions that could not be ended.
                return

        thread = threading.Thread(target=evict, name="igny8_backup-evict")
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
