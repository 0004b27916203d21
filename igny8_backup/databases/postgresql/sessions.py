"""The sessions of a database: which we may end, and ending them while something needs it empty."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from igny8_backup.databases.postgresql.connection import Connection
from igny8_backup.errors import DatabaseError

ATTEMPTS = 6
"""How often what needs a database empty is tried; each waits five seconds (``CountOtherDBBackends``)."""

_PAUSE = 0.02  # seconds between two rounds of ending sessions

# As pg_terminate_backend decides (PostgreSQL docs, 9.28.2): asked first, because one refusal would end the
# whole statement. Sessions without a role are the server's own; it ends those that stand in its way.
_MAY_END = """
    (SELECT me.rolsuper FROM pg_roles me WHERE me.rolname = current_user) OR NOT r.rolsuper
    AND (pg_has_role(r.oid, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE'))"""
_SESSIONS = """
    FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
    WHERE a.datname = ANY (%s) AND a.pid <> pg_backend_pid()"""
_END = f"SELECT count(pg_terminate_backend(a.pid)) {_SESSIONS} AND ({_MAY_END})"  # noqa: S608
_UNTOUCHABLE = f"SELECT DISTINCT r.rolname {_SESSIONS} AND NOT ({_MAY_END}) ORDER BY 1"  # noqa: S608


def protected_roles(session: psycopg.Connection[Any], names: Sequence[str]) -> list[str]:
    """The roles whose sessions in these databases the role of ``session`` may not end."""
    return [role for (role,) in session.execute(_UNTOUCHABLE, [list(names)])]


def staying(session: psycopg.Connection[Any], names: Sequence[str]) -> str:
    """What keeps these databases in use however long one waits: a sentence, empty if there is nothing."""
    if users := protected_roles(session, names):
        return f"Sessions of {', '.join(users)} are in it, which this role may not end."
    query = "SELECT gid FROM pg_prepared_xacts WHERE database = ANY (%s) ORDER BY 1"
    if found := [gid for (gid,) in session.execute(query, [list(names)])]:
        return f"Prepared transactions are open in it: {', '.join(found)}."
    return ""


def in_use(name: str, why: str, error: psycopg.errors.ObjectInUse) -> DatabaseError:
    """The error for what needs ``name`` empty; ``why`` is what :func:`staying` says."""
    return DatabaseError(
        f"{name} cannot be changed: {error.diag.message_primary}. {why or error.diag.message_detail or ''}",
        unchanged="It is as it was.",
        hint="End what uses it (a superuser can: pg_terminate_backend), then run again.",
    )


@contextmanager
def terminate_sessions(live: Connection, names: Sequence[str]) -> Iterator[None]:
    """Ends the sessions of these databases, again and again while the context lasts."""
    done = threading.Event()
    with live.maintenance() as session:
        session.execute(_END, [list(names)])

        def evict() -> None:
            try:
                while not done.wait(_PAUSE):
                    session.execute(_END, [list(names)])
            except psycopg.Error:
                # What needed the database empty reports the sessions that are left.
                return

        thread = threading.Thread(target=evict, name="igny8_backup-evict")
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
