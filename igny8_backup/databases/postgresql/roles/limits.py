"""Find out whether the server lets a role open the sessions that a backup or a restore needs at once.

A limit may apply to the role, to the database, and to the server, which keeps some sessions for superusers
(PostgreSQL docs, CREATE ROLE, CREATE DATABASE, and "Connection Settings").
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass

from igny8_backup.databases.postgresql.connections.connection import own_backends
from igny8_backup.databases.quoting import identifier
from igny8_backup.databases.session import Session

SESSIONS = 3
"""The sessions that a backup needs at once.

One holds the lock, one exports the snapshot, and one is that of a client program. :func:`sessions_of_dump`
counts those of ``DUMP_JOBS`` and ``YIELD_AFTER``, too.
"""

RESTORE_SESSIONS = 4
"""The sessions that a restore needs at once.

One holds the lock, one ends other sessions, one renames databases. The fourth is a session that was closed
just before: the server still counts it for a moment. A restore with several JOBS uses more if the limits
permit it.
"""

_CLOSING = 2
"""The number of sessions that :func:`possible_jobs` leaves free unless the caller gives another number.

After a job has ended, the server still counts its session for a moment.
"""

BESIDE_DUMP = 1
"""How many sessions of a dump are no jobs: the one that exports the snapshot."""

MOST_JOBS = 8
"""The most jobs that :func:`suitable_jobs` returns."""

SMALL_BYTES = 200 * 10**6
"""A database smaller than this is dumped and restored by one job if the settings do not say how many."""

SESSIONS_IN_DATABASE = 2
"""How many of the :data:`SESSIONS` of a backup are in the live database."""

# The kind of other roles' sessions is hidden from ordinary roles. Some processes of the server have a role
# too, so the number in use may be a little too high.
_LIMITS = """
    WITH own AS (SELECT * FROM pg_stat_activity WHERE pid = ANY (%(own)s)),
      others AS (SELECT * FROM pg_stat_activity WHERE pid <> ALL (%(own)s))
    SELECT session_user::text, r.rolsuper, r.rolconnlimit,
      (SELECT count(*) FROM others WHERE usesysid = r.oid), (SELECT count(*) FROM own WHERE usesysid = r.oid),
      coalesce(d.datconnlimit, -1),
      (SELECT count(*) FROM others WHERE datid = d.oid), (SELECT count(*) FROM own WHERE datid = d.oid),
      current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - CASE WHEN EXISTS (SELECT FROM pg_roles g WHERE g.rolname = 'pg_use_reserved_connections'
                            AND pg_has_role(r.oid, g.oid, 'USAGE'))
          THEN 0 ELSE coalesce(current_setting('reserved_connections', true), '0')::int END,
      (SELECT count(*) FROM others WHERE usesysid IS NOT NULL
         AND backend_type IS DISTINCT FROM 'parallel worker'), (SELECT count(*) FROM own)
    FROM pg_roles r LEFT JOIN pg_database d ON d.datname = %(database)s WHERE r.rolname = session_user"""


@dataclass(frozen=True, kw_only=True)
class SessionLimit:
    """A limit on the number of sessions of a role, a database or the server.

    ``subject`` is the beginning of the sentence :attr:`text`, such as "The role shop may open". ``used`` is
    the number of sessions of others, ``needed`` the number that this process needs, including those that it
    has open, which are ``own``. ``remedy`` is SQL or advice that raises the limit.
    """

    subject: str
    limit: int
    used: int
    own: int
    needed: int
    remedy: str

    @property
    def free(self) -> int:
        """The number of sessions that this process may have, including those that it has open."""
        return max(0, self.limit - self.used)

    @property
    def text(self) -> str:
        """A sentence with the limit, the sessions in use, the sessions needed, and how to raise the limit."""
        return (
            f"{self.subject} {self.limit} sessions at once, of which {self.used}"
            f" {'is' if self.used == 1 else 'are'} in use by others, and {self.needed} are needed:"
            f" {self.remedy}"
        )


def sessions_of_dump(jobs: int, *, yielding: bool = False) -> tuple[int, int]:
    """Return how many sessions a backup needs at once, and how many of them are in the live database.

    ``jobs`` client programs dump the database at the same time. A ``yielding`` backup has one more session,
    which looks for sessions that wait for it.
    """
    more = jobs - 1 + yielding
    return SESSIONS + more, SESSIONS_IN_DATABASE + more


def session_limits(
    session: Session,
    database: str,
    *,
    needed: int = SESSIONS,
    in_database: int = 0,
    programs: Collection[int] = (),
) -> list[SessionLimit]:
    """Return the limits of the login role of ``session``, of ``database`` and of the server.

    No limits apply to a superuser. ``needed`` is the number of sessions that are needed at once, and
    ``in_database`` is how many of them are in ``database``. If ``in_database`` is 0, the limit of the
    database is omitted. ``programs`` are the backend process IDs of the client programs of this process.
    """
    pids = [*own_backends(session), *programs]
    row = session.execute(_LIMITS, {"own": pids, "database": database}).fetchone()
    if row is None or row[1]:
        return []
    role, _, of_role, by_role, own_by_role, of_database, in_use, own_in_use, of_server, on_server, own = row
    found = []
    if of_role >= 0:
        found.append(
            SessionLimit(
                subject=f"The role {role} may open",
                limit=of_role,
                used=by_role,
                own=own_by_role,
                needed=needed,
                remedy=f"ALTER ROLE {identifier(role)} CONNECTION LIMIT {by_role + needed};",
            )
        )
    if of_database >= 0 and in_database:
        found.append(
            SessionLimit(
                subject=f"The database {database} accepts",
                limit=of_database,
                used=in_use,
                own=own_in_use,
                needed=in_database,
                remedy=f"ALTER DATABASE {identifier(database)} CONNECTION LIMIT {in_use + in_database};",
            )
        )
    found.append(
        SessionLimit(
            subject=f"The server lets ordinary roles such as {role} open",
            limit=of_server,
            used=on_server,
            own=own,
            needed=needed,
            remedy="end idle sessions, or raise max_connections and restart the server.",
        )
    )
    return found


def limit_blockers(
    session: Session,
    database: str,
    *,
    needed: int = SESSIONS,
    in_database: int = 0,
    programs: Collection[int] = (),
) -> list[str]:
    """Return a sentence for each limit that leaves too few sessions now.

    The arguments are those of :func:`session_limits`.
    """
    limits = session_limits(session, database, needed=needed, in_database=in_database, programs=programs)
    return [limit.text for limit in limits if limit.free < limit.needed]


def possible_jobs(session: Session, wanted: int, *, beside: int = _CLOSING) -> int:
    """Return how many jobs can run, with one session each: from one to ``wanted``.

    ``session`` must be in the database to which the jobs will connect. It is not counted, because the caller
    closes it before the jobs start. ``beside`` is the number of sessions that are left free for others.
    """
    limits = session_limits(session, session.dbname, in_database=1)
    return max(1, min([wanted, *(limit.free - (limit.own - 1) - beside for limit in limits)]))


def suitable_jobs(session: Session, size: int) -> int:
    """Return how many jobs should dump or restore a database of ``size`` bytes if the settings do not say.

    The result is as high as the cores of this machine and the settings of the server suggest, at most
    :data:`MOST_JOBS`.
    """
    if size < SMALL_BYTES:
        return 1
    query = "SELECT current_setting('max_connections')::int, current_setting('max_worker_processes')::int"
    connections, workers = session.execute(query).fetchone() or (1, 1)
    # The server may be another machine. Its setting for worker processes follows its number of cores.
    return int(max(1, min(MOST_JOBS, _cores(), workers, connections // 10)))


def _cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
