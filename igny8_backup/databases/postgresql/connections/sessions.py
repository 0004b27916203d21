"""Open sessions that hold advisory locks, and end the sessions in a database.

A database must have no sessions when it is renamed or dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from igny8_backup.databases.postgresql.connections.connection import Connection, is_pooled, is_replica
from igny8_backup.databases.session import DriverError, ObjectInUse, Session
from igny8_backup.errors import DatabaseError

ATTEMPTS = 6
"""The number of attempts for a statement that needs a database without sessions.

In each attempt the server waits up to five seconds until the sessions have ended (``CountOtherDBBackends`` in
PostgreSQL's sources).
"""

_LOCK_HINT = (
    "Let DATABASES, or the connection of DBBACKUP_CONNECTORS, lead to the primary server itself, not to a"
    " pooler or a standby."
)
_PAUSE = 0.02  # seconds between two rounds of terminating sessions

# The conditions of pg_terminate_backend (PostgreSQL docs, 9.28.2). They are checked first, because a single
# refusal would make the statement fail. Sessions without a role are processes of the server, which end by
# themselves.
_MAY_TERMINATE = """
    (SELECT me.rolsuper FROM pg_roles me WHERE me.rolname = current_user) OR NOT r.rolsuper
    AND (pg_has_role(r.oid, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE'))"""
_SESSIONS = """
    FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
    WHERE a.datname = ANY (%s) AND a.pid <> pg_backend_pid()"""
_TERMINATE = f"SELECT count(pg_terminate_backend(a.pid)) {_SESSIONS} AND ({_MAY_TERMINATE})"  # noqa: S608 - constants
_PROTECTED = f"SELECT DISTINCT r.rolname {_SESSIONS} AND NOT ({_MAY_TERMINATE}) ORDER BY 1"  # noqa: S608 - constants


@contextmanager
def open_lock_session(live: Connection, source: Connection) -> Iterator[Session]:
    """Open a session in a maintenance database of the primary, to hold an advisory lock.

    ``live`` is tried first, then ``source``, the connection for backups. A connection to a replica or to a
    pooler is unsuitable: a pooler would keep the lock after this process has ended. Raises
    :class:`DatabaseError` if neither connection is suitable.
    """
    refusals: list[DatabaseError] = []
    with ExitStack() as stack:
        for connection in [live] if source.leads_to_same(live) else [live, source]:
            try:
                session = stack.enter_context(connection.maintenance())
                if not is_pooled(session) and not is_replica(session):
                    break
            except DatabaseError as error:
                refusals.append(error)
            except DriverError as error:
                refusals.append(
                    DatabaseError(
                        f"{connection.where} cannot hold the lock: {error.primary}.", hint=_LOCK_HINT
                    )
                )
            else:
                what = f"{connection.where} leads to a connection pooler or to a replica."
                refusals.append(DatabaseError(what, hint=_LOCK_HINT))
        else:
            raise refusals[0]
        yield session


def protected_roles(session: Session, names: Sequence[str]) -> list[str]:
    """List the roles whose sessions in the databases ``names`` the current role may not terminate."""
    return [role for (role,) in session.execute(_PROTECTED, [list(names)])]


def lasting_use(session: Session, names: Sequence[str]) -> str:
    """Describe in a sentence what will keep the databases ``names`` in use; empty if nothing will.

    Two things keep a database in use: sessions that the current role may not terminate, and prepared
    transactions. Neither ends by itself, so it is useless to wait.
    """
    if roles := protected_roles(session, names):
        return f"It has sessions of {', '.join(roles)}, which this role may not end."
    query = "SELECT gid FROM pg_prepared_xacts WHERE database = ANY (%s) ORDER BY 1"
    if found := [gid for (gid,) in session.execute(query, [list(names)])]:
        return f"It has prepared transactions: {', '.join(found)}."
    return ""


def run_without_sessions(live: Connection, names: Sequence[str], work: Callable[[Session], None]) -> None:
    """Terminate the sessions in the databases ``names`` while ``work`` renames or drops these databases.

    ``work`` receives a session in a maintenance database. ``work`` is called again if it fails because a
    database is in use. Raises :class:`DatabaseError` if the database stays in use.
    """
    with terminate_sessions(live, names), live.maintenance() as session:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return work(session)
            except ObjectInUse as error:
                reason = lasting_use(session, names)
                if reason or attempt == ATTEMPTS:
                    raise DatabaseError(
                        f"The database {names[0]} cannot be renamed or dropped: {error.primary}."
                        f" {reason or error.detail or ''}",
                        unchanged="The database was not changed.",
                        hint="End its sessions and transactions (as a superuser if need be), then run again.",
                    ) from None


@contextmanager
def terminate_sessions(live: Connection, names: Sequence[str]) -> Iterator[None]:
    """Terminate the sessions in the databases ``names``, repeatedly, while the context lasts."""
    done = threading.Event()
    with live.maintenance() as session:
        session.execute(_TERMINATE, [list(names)])

        def terminate() -> None:
            try:
                while not done.wait(_PAUSE):
                    session.execute(_TERMINATE, [list(names)])
            except DriverError:
                # The statement that needs the database empty reports the sessions that are left.
                return

        thread = threading.Thread(target=terminate, name="igny8_backup-terminate-sessions")
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
