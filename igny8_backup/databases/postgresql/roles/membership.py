"""Find the roles for which the restoring role may act, and the roles with more power than a restore needs.

To restore the objects of another role, the restoring role must be a member of that role. If that role is
powerful, the restoring role should not become a member.
"""

from __future__ import annotations

from igny8_backup.databases.session import Session

MANAGED_ADMINS = ["rds_superuser", "cloudsqlsuperuser", "azure_pg_admin"]
"""Administrative roles of managed servers. They may create extensions that otherwise require a superuser."""

# The predefined roles that give no power over data, files or programs (PostgreSQL docs, "Predefined Roles").
_HARMLESS = [
    "pg_checkpoint",
    "pg_database_owner",
    "pg_monitor",
    "pg_read_all_settings",
    "pg_read_all_stats",
    "pg_stat_scan_tables",
]

# A member of a role has, or can take, the attributes and privileges of that role.
_POWERFUL = """
    SELECT r.rolname FROM pg_roles r WHERE EXISTS (
      SELECT FROM pg_roles g WHERE pg_has_role(r.oid, g.oid, 'MEMBER')
        AND (g.rolsuper OR g.rolcreaterole OR g.rolreplication OR g.rolbypassrls OR g.rolname = ANY (%s)
             OR g.rolname ~ '^pg_' AND g.rolname <> ALL (%s)))"""


def reachable_roles(session: Session) -> frozenset[str]:
    """Return the roles that the current role may make the owner of its objects (ALTER ... OWNER TO).

    This needs the right to SET ROLE; before PostgreSQL 16, any membership (PostgreSQL docs, 9.27.7).
    """
    query = "SELECT rolname FROM pg_roles WHERE pg_has_role(oid, %s)"
    right = "SET" if session.server_version >= 160000 else "MEMBER"
    return frozenset(name for (name,) in session.execute(query, [right]))


def powerful_roles(session: Session) -> frozenset[str]:
    """Return the roles whose members could do more than use an application's data.

    These are superusers, roles that may create roles, replicate or bypass row-level security, predefined
    roles that reach data, files or programs of the server, and members of such roles.
    """
    found = session.execute(_POWERFUL, [MANAGED_ADMINS, _HARMLESS])
    return frozenset(name for (name,) in found)
