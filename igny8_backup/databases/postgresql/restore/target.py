"""Describe the server and what uses the live database. An operator sees this before confirming a restore.

The module ``preflight`` finds what prevents a restore.
"""

from __future__ import annotations

from pathlib import Path

from igny8_backup.databases.postgresql.clients import find_client, major_of
from igny8_backup.databases.postgresql.connections.connection import Connection
from igny8_backup.databases.postgresql.introspection import system_identifier
from igny8_backup.databases.session import Session
from igny8_backup.databases.values import Extension, Role, Sessions, Subscription, TargetState, Tool
from igny8_backup.errors import ToolError
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.parts.database import DatabasePart

# If a role may not see the address of a session, it sees neither port nor backend type (PostgreSQL docs,
# 27.2). Processes of the server have no role.
_SESSIONS = """
    SELECT coalesce(application_name, ''), CASE WHEN client_port IS NULL THEN 'hidden'
      WHEN client_port < 0 THEN 'local socket' ELSE host(client_addr) END, usename::text, count(*)
    FROM pg_stat_activity WHERE datname = %s AND usesysid IS NOT NULL AND pid <> pg_backend_pid()
      AND backend_type IS DISTINCT FROM 'parallel worker'
    GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3"""
_SLOTS = "SELECT slot_name::text FROM pg_replication_slots WHERE database = %s ORDER BY 1"
_PREPARED = "SELECT gid FROM pg_prepared_xacts WHERE database = %s ORDER BY 1"
_SUBSCRIPTIONS = """
    SELECT subname::text, subenabled FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
    WHERE d.datname = %s ORDER BY 1"""


def inspect_target(
    live: Connection, part: DatabasePart, details: DatabaseDetails, bin_dir: Path | None
) -> TargetState:
    """Describe the server of ``live``, and the sessions and replication that use its database.

    The database need not exist. ``part`` is the entry of the dump in the manifest, ``details`` are the
    recorded properties of the database, ``bin_dir`` is the setting ``CLIENT_BIN_DIR``.
    """
    with live.maintenance() as session:
        version = session.server_version_text
        name = [live.name]
        return TargetState(
            server=f"{session.host}:{session.port}",
            server_version=version,
            system_identifier=system_identifier(session),
            tools=(_pg_restore(part, version, bin_dir),),
            roles=_roles(session, details),
            extensions=_extensions(session, details),
            sessions=tuple(Sessions(*row) for row in session.execute(_SESSIONS, name)),
            replication_slots=tuple(slot for (slot,) in session.execute(_SLOTS, name)),
            prepared_transactions=tuple(gid for (gid,) in session.execute(_PREPARED, name)),
            subscriptions=tuple(Subscription(*row) for row in session.execute(_SUBSCRIPTIONS, name)),
        )


def _pg_restore(part: DatabasePart, server: str, bin_dir: Path | None) -> Tool:
    needed = major_of(part.dump_version)
    try:
        client = find_client("pg_restore", server_major=major_of(server), bin_dir=bin_dir)
    except ToolError:
        return Tool(program="pg_restore", needed=needed)
    return Tool(program="pg_restore", needed=needed, present=client.version, path=str(client.path))


def _roles(session: Session, details: DatabaseDetails) -> tuple[Role, ...]:
    known = {name for (name,) in session.execute("SELECT rolname FROM pg_roles")}
    mentioned = {details.owner, *details.owners, *details.roles} - {""}
    return tuple(Role(name=name, exists=name in known) for name in sorted(mentioned))


def _extensions(session: Session, details: DatabaseDetails) -> tuple[Extension, ...]:
    rows = session.execute("SELECT name::text, default_version FROM pg_available_extensions").fetchall()
    available = dict(rows)
    return tuple(
        Extension(name=name, version=version, available=available.get(name) or "")
        for name, version in sorted(details.extensions.items())
    )
