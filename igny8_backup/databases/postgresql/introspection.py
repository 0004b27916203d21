"""Read the properties of a database from the system catalogs (PostgreSQL docs, "System Catalogs").

:func:`describe` reads all properties that a restore needs; the other functions read one property each. A row
of ``pg_database`` is read as JSON, because its columns differ between major versions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from igny8_backup.databases.names import table_name
from igny8_backup.databases.session import InsufficientPrivilege, Session
from igny8_backup.formats.details import DatabaseDetails, DatabaseSetting, Privilege

_PROVIDERS = {"b": "builtin", "c": "libc", "i": "icu"}

# The application's tables, partitioned tables and materialized views. Tables that belong to an extension are
# omitted, because CREATE EXTENSION creates them.
_TABLES = """
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind::text = ANY (%s) AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                      AND d.objid = c.oid AND d.deptype = 'e')"""

# The roles that a dump mentions: owners, and the roles in privileges and policies. Objects of the bootstrap
# superuser have no entry in pg_shdepend, so owners are also read from the catalogs. Objects that belong to an
# extension are omitted, because CREATE EXTENSION creates them.
_ROLES = """
    WITH members AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'), found AS (
      SELECT refobjid AS role, deptype = 'o' AS owns, deptype = 'r' AS in_policy FROM pg_shdepend s
      WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND refclassid = 'pg_authid'::regclass AND classid <> 'pg_extension'::regclass
        AND (classid, objid) NOT IN (TABLE members)
      UNION SELECT datdba, true, false FROM pg_database WHERE datname = current_database()
      UNION SELECT relowner, true, false FROM pg_class WHERE oid >= 16384
        AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
        AND ('pg_class'::regclass, oid) NOT IN (TABLE members)
      UNION SELECT proowner, true, false FROM pg_proc WHERE oid >= 16384
        AND ('pg_proc'::regclass, oid) NOT IN (TABLE members)
      UNION SELECT nspowner, true, false FROM pg_namespace WHERE (oid >= 16384 AND nspname !~ '^pg_'
        OR nspname = 'public') AND ('pg_namespace'::regclass, oid) NOT IN (TABLE members))
    SELECT rolname, bool_or(owns), bool_or(in_policy) FROM found JOIN pg_roles ON oid = role
    WHERE rolname !~ '^pg_' GROUP BY 1"""

_SETTINGS = """
    SELECT coalesce(r.rolname, ''), entry FROM pg_db_role_setting s
    JOIN pg_database d ON d.oid = s.setdatabase LEFT JOIN pg_roles r ON r.oid = s.setrole,
    unnest(s.setconfig) entry WHERE d.datname = %s ORDER BY 1, 2"""

_PRIVILEGES = """
    SELECT coalesce(r.rolname, ''), a.privilege_type, a.is_grantable
    FROM pg_database d, aclexplode(d.datacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
    WHERE d.datname = %s ORDER BY 1, 2"""

# Only roles that may connect may read the size.
_DATABASE = """
    SELECT (to_jsonb(d) || jsonb_build_object(
      'encoding_name', pg_encoding_to_char(d.encoding), 'owner', pg_get_userbyid(d.datdba),
      'tablespace', t.spcname, 'comment', shobj_description(d.oid, 'pg_database'),
      'size', CASE WHEN has_database_privilege(d.oid, 'CONNECT') THEN pg_database_size(d.oid) ELSE 0 END
    ))::text
    FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace WHERE d.datname = %s"""

# The name has no schema, so that the search path finds the table, as it does for Django.
_MIGRATIONS = "SELECT DISTINCT ON (app) app, name FROM django_migrations ORDER BY app, id DESC"


def system_identifier(session: Session) -> str:
    """Return the system identifier of the server (PostgreSQL docs, ``pg_control_system``).

    Each initialised data folder has its own identifier; replicas have that of their primary. The result is
    empty if the role may not read the identifier.
    """
    try:
        row = session.execute("SELECT system_identifier FROM pg_control_system()").fetchone()
    except InsufficientPrivilege:
        return ""
    return str(row[0]) if row else ""


def list_tables(session: Session, kinds: str = "rpm") -> tuple[str, ...]:
    """List the application's tables as ``schema.table``, sorted.

    ``kinds`` has values of ``pg_class.relkind``, one letter each; ``r`` stands for the tables that store
    rows.
    """
    found = session.execute(_TABLES, [list(kinds)])
    return tuple(sorted(table_name(schema, table) for schema, table in found))


def list_settings(session: Session, name: str) -> tuple[DatabaseSetting, ...]:
    """List the settings of the database ``name``, with those of ALTER ROLE ... IN DATABASE."""
    rows = session.execute(_SETTINGS, [name]).fetchall()
    pairs = [(role, *entry.split("=", 1)) for role, entry in rows]
    return tuple(DatabaseSetting(role=role, name=key, value=value) for role, key, value in pairs)


def list_privileges(session: Session, name: str) -> tuple[Privilege, ...] | None:
    """List the privileges on the database ``name``. ``None`` means the default privileges."""
    acl = session.execute("SELECT datacl IS NULL FROM pg_database WHERE datname = %s", [name]).fetchone()
    if acl is None or acl[0]:
        return None
    rows = session.execute(_PRIVILEGES, [name]).fetchall()
    return tuple(
        Privilege(grantee=grantee, privilege=name, grantable=grantable) for grantee, name, grantable in rows
    )


def database_row(session: Session, name: str) -> dict[str, Any] | None:
    """Return the row of ``pg_database`` for the database ``name``, or ``None`` if there is none.

    The row also has ``owner``, ``tablespace``, ``encoding_name``, ``comment`` and ``size`` (in bytes).
    """
    row = session.execute(_DATABASE, [name]).fetchone()
    return None if row is None else dict(json.loads(row[0]))


def describe(session: Session, alias: str, excluded: Sequence[str]) -> DatabaseDetails:
    """Return the properties of the database of ``session`` that a restore needs.

    ``excluded`` are the ``schema.table`` names of the tables whose rows are left out of the dump.
    """
    name = session.dbname
    row = database_row(session, name) or {}
    roles = sorted(session.execute(_ROLES).fetchall())
    extensions = session.execute("SELECT extname, extversion FROM pg_extension ORDER BY 1").fetchall()
    return DatabaseDetails(
        alias=alias,
        name=name,
        server=f"{session.host}:{session.port}",
        system_identifier=system_identifier(session),
        tables=list_tables(session),
        migrations=_last_migrations(session),
        size=row["size"],
        encoding=row["encoding_name"],
        provider=_PROVIDERS.get(row.get("datlocprovider", "c"), "libc"),
        collate=row["datcollate"],
        ctype=row["datctype"],
        locale=row.get("datlocale", row.get("daticulocale")),
        icu_rules=row.get("daticurules"),
        owner=row["owner"],
        tablespace=row["tablespace"],
        connection_limit=row["datconnlimit"],
        comment=row["comment"],
        extensions=dict(extensions),
        roles=tuple(role for role, _, _ in roles),
        owners=tuple(role for role, owns, _ in roles if owns),
        policy_roles=tuple(role for role, _, in_policy in roles if in_policy),
        settings=list_settings(session, name),
        privileges=list_privileges(session, name),
        excluded_data=tuple(excluded),
    )


def _last_migrations(session: Session) -> dict[str, str]:
    """Return the last applied migration of each app; empty if there is no table ``django_migrations``."""
    found = session.execute("SELECT to_regclass('django_migrations') IS NOT NULL").fetchone()
    return dict(session.execute(_MIGRATIONS).fetchall()) if found == (True,) else {}
