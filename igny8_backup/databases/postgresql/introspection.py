"""Read the properties of a database from the system catalogs (PostgreSQL docs, "System Catalogs").

:func:`describe` reads all properties that a restore needs; the other functions read one property each. A row
of ``pg_database`` is read as JSON, because its columns differ between major versions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from igny8_backup.databases.names import table_name
from igny8_backup.databases.session import DriverError, Session
from igny8_backup.formats.details import DatabaseDetails, DatabaseSetting, Privilege, SecurityLabel, by_app

_NOT_OFFERED = {"42501", "42883", "0A000"}
"""The SQLSTATEs of calls that fail because the role may not call the function, because the function does not
exist, or because the (managed) server does not support it (PostgreSQL docs, "PostgreSQL Error Codes")."""
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
# extension are omitted, because CREATE EXTENSION creates them; event triggers, because restores leave them
# out; and the owner of the schema public, because a new database has that schema.
_ROLES = """
    WITH objects AS (
      SELECT 'pg_class'::regclass AS classid, oid AS objid, relowner AS role FROM pg_class
        WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
      UNION ALL SELECT 'pg_proc'::regclass, oid, proowner FROM pg_proc
      UNION ALL SELECT 'pg_namespace'::regclass, oid, nspowner FROM pg_namespace WHERE nspname !~ '^pg_'
      UNION ALL SELECT 'pg_type'::regclass, t.oid, typowner
        FROM pg_type t LEFT JOIN pg_class c ON c.oid = typrelid
        WHERE typtype IN ('b', 'c', 'd', 'e', 'r') AND typcategory <> 'A' AND coalesce(relkind = 'c', true)
      UNION ALL SELECT 'pg_operator'::regclass, oid, oprowner FROM pg_operator
      UNION ALL SELECT 'pg_opclass'::regclass, oid, opcowner FROM pg_opclass
      UNION ALL SELECT 'pg_opfamily'::regclass, oid, opfowner FROM pg_opfamily
      UNION ALL SELECT 'pg_collation'::regclass, oid, collowner FROM pg_collation
      UNION ALL SELECT 'pg_conversion'::regclass, oid, conowner FROM pg_conversion
      UNION ALL SELECT 'pg_ts_config'::regclass, oid, cfgowner FROM pg_ts_config
      UNION ALL SELECT 'pg_ts_dict'::regclass, oid, dictowner FROM pg_ts_dict
      UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, stxowner FROM pg_statistic_ext
      UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid, fdwowner FROM pg_foreign_data_wrapper
      UNION ALL SELECT 'pg_foreign_server'::regclass, oid, srvowner FROM pg_foreign_server
      UNION ALL SELECT 'pg_publication'::regclass, oid, pubowner FROM pg_publication
      UNION ALL SELECT 'pg_largeobject'::regclass, oid, lomowner FROM pg_largeobject_metadata
    ), found AS (
      SELECT classid, objid, refobjid AS role, deptype = 'o' AS owns, deptype = 'r' AS in_policy
        FROM pg_shdepend WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND refclassid = 'pg_authid'::regclass
          AND classid NOT IN ('pg_extension'::regclass, 'pg_event_trigger'::regclass)
      UNION ALL SELECT classid, objid, role, true, false FROM objects
        WHERE objid >= 16384 OR classid = 'pg_largeobject'::regclass
    ), counted AS (
      SELECT role, owns, in_policy FROM found
        WHERE (classid, objid) NOT IN (SELECT classid, objid FROM pg_depend WHERE deptype = 'e')
          AND NOT (owns AND classid = 'pg_namespace'::regclass
                   AND objid IN (SELECT oid FROM pg_namespace WHERE nspname = 'public'))
      UNION ALL SELECT datdba, true, false FROM pg_database WHERE datname = current_database())
    SELECT rolname, bool_or(owns), bool_or(in_policy) FROM counted JOIN pg_roles ON oid = role
    WHERE rolname !~ '^pg_' GROUP BY 1"""

# The roles that granted privileges on objects of other owners. An archive names them, and only superusers may
# restore privileges in their names.
_GRANTORS = """
    WITH granted AS (
      SELECT relowner AS owner, relacl AS acl, relnamespace AS schema FROM pg_class
      UNION ALL SELECT relowner, attacl, relnamespace FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
      UNION ALL SELECT proowner, proacl, pronamespace FROM pg_proc
      UNION ALL SELECT typowner, typacl, typnamespace FROM pg_type
      UNION ALL SELECT nspowner, nspacl, oid FROM pg_namespace)
    SELECT DISTINCT pg_get_userbyid(a.grantor)::text
    FROM granted CROSS JOIN aclexplode(acl) a JOIN pg_namespace n ON n.oid = schema
    WHERE a.grantor <> owner AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY 1"""

_SETTINGS = """
    SELECT coalesce(r.rolname, ''), entry FROM pg_db_role_setting s
    JOIN pg_database d ON d.oid = s.setdatabase LEFT JOIN pg_roles r ON r.oid = s.setrole,
    unnest(s.setconfig) entry WHERE d.datname = %s ORDER BY 1, 2"""

_PRIVILEGES = """
    SELECT coalesce(r.rolname, ''), a.privilege_type, a.is_grantable
    FROM pg_database d, aclexplode(d.datacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
    WHERE d.datname = %s ORDER BY 1, 2"""

_LABELS = """
    SELECT l.provider, l.label FROM pg_shseclabel l JOIN pg_database d ON d.oid = l.objoid
    WHERE l.classoid = 'pg_database'::regclass AND d.datname = %s ORDER BY 1"""

# Only roles that may connect may read the size.
_DATABASE = """
    SELECT (to_jsonb(d) || jsonb_build_object(
      'encoding_name', pg_encoding_to_char(d.encoding), 'owner', pg_get_userbyid(d.datdba),
      'tablespace', t.spcname, 'comment', shobj_description(d.oid, 'pg_database'),
      'size', CASE WHEN has_database_privilege(d.oid, 'CONNECT') THEN pg_database_size(d.oid) ELSE 0 END
    ))::text
    FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace WHERE d.datname = %s"""

# The name has no schema, so that the search path finds the table, as it does for Django.
_MIGRATIONS = "SELECT app, name FROM django_migrations ORDER BY id"


def system_identifier(session: Session) -> str:
    """Return the system identifier of the server (PostgreSQL docs, ``pg_control_system``).

    Each initialised data folder has its own identifier; replicas have that of their primary. The result is
    empty if the role may not read the identifier, or the server does not offer it.
    """
    try:
        row = session.execute("SELECT system_identifier FROM pg_control_system()").fetchone()
    except DriverError as error:
        if error.sqlstate not in _NOT_OFFERED:
            raise
        return ""
    return str(row[0]) if row else ""


def list_tables(session: Session, kinds: str = "rpm") -> tuple[str, ...]:
    """List the application's tables as ``schema.table``, sorted.

    ``kinds`` has values of ``pg_class.relkind``, one letter each: ``r`` for the tables that store rows, ``p``
    for partitioned tables, ``m`` for materialized views.
    """
    found = session.execute(_TABLES, [list(kinds)])
    return tuple(sorted(table_name(schema, table) for schema, table in found))


def list_settings(session: Session, name: str) -> tuple[DatabaseSetting, ...]:
    """List the settings of the database ``name``, including those of ALTER ROLE ... IN DATABASE."""
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


def list_labels(session: Session, name: str) -> tuple[SecurityLabel, ...]:
    """List the security labels of the database ``name`` itself, which a dump does not contain."""
    rows = session.execute(_LABELS, [name]).fetchall()
    return tuple(SecurityLabel(provider=provider, label=label) for provider, label in rows)


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
    migrations = _applied_migrations(session)
    return DatabaseDetails(
        alias=alias,
        name=name,
        server=f"{session.host}:{session.port}",
        system_identifier=system_identifier(session),
        tables=list_tables(session),
        migrations=dict(migrations),
        applied_migrations=by_app(migrations),
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
        is_template=row["datistemplate"],
        comment=row["comment"],
        security_labels=list_labels(session, name),
        extensions=dict(extensions),
        roles=tuple(role for role, _, _ in roles),
        owners=tuple(role for role, owns, _ in roles if owns),
        policy_roles=tuple(role for role, _, in_policy in roles if in_policy),
        grantors=tuple(role for (role,) in session.execute(_GRANTORS)),
        settings=list_settings(session, name),
        privileges=list_privileges(session, name),
        excluded_data=tuple(excluded),
    )


def _applied_migrations(session: Session) -> list[tuple[str, str]]:
    """Return the app and the name of each applied migration, in the order in which they were applied.

    The list is empty if the database has no table ``django_migrations``.
    """
    found = session.execute("SELECT to_regclass('django_migrations') IS NOT NULL").fetchone()
    return session.execute(_MIGRATIONS).fetchall() if found == (True,) else []
