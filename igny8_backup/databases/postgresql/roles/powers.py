"""Describe what the SQL of a dump could do, with the role of the restore, outside the restored database."""

from __future__ import annotations

from igny8_backup.conf import Problem
from igny8_backup.databases.postgresql.connections.connection import Connection
from igny8_backup.databases.quoting import identifier
from igny8_backup.databases.session import Session
from igny8_backup.errors import DatabaseError

DOCUMENTATION = 'See "Limit what a backup can do" in the documentation.'

_FILES_AND_PROGRAMS = ("pg_execute_server_program", "pg_read_server_files", "pg_write_server_files")

# A dump may say RESET ROLE, so the role that logged in counts, not the one that it assumed. A member of a
# role has, or can take, its attributes.
_POWERS = """
    SELECT session_user::text,
      (SELECT rolsuper FROM pg_roles WHERE rolname = session_user),
      ARRAY(SELECT rolname::text FROM pg_roles g WHERE pg_has_role(session_user, g.oid, 'MEMBER')
            AND g.rolname <> session_user AND (g.rolsuper OR g.rolname = ANY (%s)) ORDER BY 1)"""


def role_powers(session: Session) -> str:
    """Return a sentence on what the login role of ``session`` could do outside the database, and the remedy.

    The sentence is empty if the role has no power outside the database. Superusers, and members of the
    predefined roles for files and programs, can use files or run programs on the machine of the server
    (PostgreSQL docs, 22.5 and ``COPY``).
    """
    row = session.execute(_POWERS, [list(_FILES_AND_PROGRAMS)]).fetchone()
    user, superuser, memberships = row or ("", False, [])
    if not (superuser or memberships):
        return ""
    why = "is a superuser" if superuser else f"is a member of {', '.join(memberships)}"
    return (
        f"The role {user} {why}, so the SQL of a dump could run programs or read files on the machine of the"
        " server. Restore with an ordinary role:"
        f" CREATE ROLE {identifier('igny8_restore')} LOGIN CREATEDB PASSWORD '...'; {DOCUMENTATION}"
    )


def power_problems(live: Connection) -> list[Problem]:
    """Return a warning (W023) if restores connect with a role that has powers outside the database."""
    try:
        with live.maintenance() as session:
            text = role_powers(session)
    except DatabaseError:
        return []  # reported by the other checks of the same server
    if not text:
        return []
    message = f"A restore of the database {live.alias!r} would have more rights than it needs."
    return [Problem(id="igny8_backup.W023", message=message, hint=text)]
