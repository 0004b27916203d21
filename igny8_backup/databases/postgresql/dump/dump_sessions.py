"""The sessions of a dump: find sessions that wait for their locks, and end them. See ``DumpSessions``.

A dump holds ``ACCESS SHARE`` on every table. ``ALTER TABLE`` waits for that lock, and every later query on
the table waits behind the ``ALTER TABLE``. So a dump of an hour can stop an application for an hour.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

from igny8_backup.databases.postgresql.connections.connection import Connection
from igny8_backup.databases.postgresql.roles.limits import limit_blockers, sessions_of_dump
from igny8_backup.databases.session import Session
from igny8_backup.errors import DatabaseError

LOOKS = 4
"""How often waiting sessions are looked for, within the time after which a dump ends."""

# The sessions of this dump. Every role may see the program name of a session (PostgreSQL docs, 27.2.3).
_OWN = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND (pid = ANY (%(pids)s) OR application_name = %(name)s)"""

# Only locks of tables count: CREATE INDEX CONCURRENTLY waits for a snapshot to end, and stops nobody else.
# pg_blocking_pids() is slow, so it is called for the sessions that have waited long enough only.
_WAITING = f"""
    SELECT w.pid, coalesce(w.application_name, ''), coalesce(w.usename::text, ''),
      coalesce(l.relation::regclass::text, '')
    FROM pg_locks l JOIN pg_stat_activity w ON w.pid = l.pid
    WHERE NOT l.granted AND l.locktype = 'relation'
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.waitstart < clock_timestamp() - make_interval(secs => %(seconds)s)
      AND pg_blocking_pids(l.pid) && ARRAY({_OWN}) AND l.pid <> ALL (ARRAY({_OWN}))
    ORDER BY l.waitstart"""  # noqa: S608 - _OWN is a constant
_END = f"SELECT pg_terminate_backend(pid) FROM ({_OWN}) own"  # noqa: S608 - a constant


class DumpSessions:
    """The sessions of the dump that a ``Dumper`` makes. Safe to use from several threads."""

    def __init__(self, source: Connection) -> None:
        """Observe the dump of the database of ``source``, the connection for backups."""
        self._source = source.without_role()  # a session may always end sessions of its own login role
        self._pids: set[int] = set()
        self.program_name = f"igny8_backup dump {secrets.token_hex(4)}"
        """The program name (``PGAPPNAME``) of the client programs of this dump."""
        self.programs = 1
        """The number of these programs."""

    @contextmanager
    def includes(self, session: Session) -> Iterator[None]:
        """Count ``session`` among the sessions of the dump while the block runs."""
        self._pids.add(session.backend_pid)
        try:
            yield
        finally:
            self._pids.discard(session.backend_pid)

    def waiting(self, seconds: float, closed: Event) -> str:
        """Implement ``Engine.waiting_sessions``."""
        with self._source.open() as session:
            # This session must not use up the last one that the server permits: pg_dump needs it.
            needed, in_database = sessions_of_dump(self.programs, yielding=True)
            own = [pid for (pid,) in session.execute(_OWN, self._own())]
            if limits := limit_blockers(
                session, session.dbname, needed=needed, in_database=in_database, programs=own
            ):
                text, _, remedy = limits[0].partition(": ")
                raise DatabaseError(f"{text}.", hint=f"{remedy[0].upper()}{remedy[1:]}")
            while not closed.wait(seconds / LOOKS):
                found = session.execute(_WAITING, {**self._own(), "seconds": seconds}).fetchall()
                if found:
                    pid, program, role, table = found[0]
                    known = ", ".join(filter(None, (program, f"role {role}" if role else "")))
                    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
                    of = f" on {table}" if table else ""
                    return f"Process {pid} ({known}) waited for a lock{of} that the dump held{more}."
        return ""

    def end(self) -> None:
        """Implement ``Engine.end_dump``."""
        with self._source.open() as session:
            session.execute(_END, self._own())

    def _own(self) -> dict[str, object]:
        return {"pids": list(self._pids), "name": self.program_name}
