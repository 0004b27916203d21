"""What a PostgreSQL database says of itself: catalog queries (PostgreSQL docs, chapter 53).

Rows of ``pg_database`` are read as JSON because its columns differ between major versions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from igny8_backup.errors import RefusedError
from igny8_backup.manifest import DatabaseDetails, DatabaseSetting, Privilege

_PROVIDERS = {"b": "builtin", "c": "libc", "i": "icu"}

# Tables, partitioned tables and materialized views that are the application's own: what an extension brings
# comes back with the extension.
_TABLES = """
    SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                      AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY 1"""

# Owners, and whoever is named by a privilege or a policy of this database.
_ROLES = """
    SELECT DISTINCT r.rolname FROM pg_roles r WHERE r.rolname !~ '^pg_' AND (
      r.oid IN (SELECT refobjid FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid
                WHERE s.refclassid = 'pg_authid'::regclass AND d.datname = current_database())
      OR r.oid IN (SELECT datdba FROM pg_database WHERE datname = current_database())
      OR r.oid IN (SELECT relowner FROM pg_class WHERE oid >= 16384)
      OR r.oid IN (SELECT proowner FROM pg_proc WHERE oid >= 16384)
      OR r.oid IN (SELECT nspowner FROM pg_namespace WHERE oid >= 16384))
    ORDER BY 1"""

_SETTINGS = """
    SELECT coalesce(r.rolname, ''), entry FROM pg_db_role_setting s
    JOIN pg_database d ON d.oid = s.setdatabase LEFT JOIN pg_roles r ON r.oid = s.setrole,
    unnest(s.setconfig) entry WHERE d.datname = %s ORDER BY 1, 2"""

_PRIVILEGES = """
    SELECT coalesce(r.rolname, ''), a.privilege_type, a.is_grantable
    FROM pg_database d, aclexplode(d.datacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
    WHERE d.datname = %s ORDER BY 1, 2"""

_DATABASE = """
    SELECT to_jsonb(d) || jsonb_build_object(
      'encoding_name', pg_encoding_to_char(d.encoding), 'owner', pg_get_userbyid(d.datdba),
      'tablespace', t.spcname, 'comment', shobj_description(d.oid, 'pg_database'),
      'size', pg_database_size(d.oid))
    FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace WHERE d.datname = %s"""

_MIGRATIONS = "SELECT DISTINCT ON (app) app, name FROM public.django_migrations ORDER BY app, id DESC"

# Foreign keys whose rows would stay while the rows that they point to are left out.
_DANGLING = """
    SELECT c.conrelid::regclass::text, c.confrelid::regclass::text FROM pg_constraint c
    WHERE c.contype = 'f' AND c.confrelid = ANY (%(tables)s::oid[])
      AND NOT c.conrelid = ANY (%(tables)s::oid[]) ORDER BY 1"""


def list_tables(session: psycopg.Connection[Any]) -> tuple[str, ...]:
    """``schema.table`` of each table of the application, quoted where SQL needs it, sorted."""
    return tuple(row[0] for row in session.execute(_TABLES))


def list_settings(session: psycopg.Connection[Any], name: str) -> tuple[DatabaseSetting, ...]:
    """Settings of the database called ``name`` and of roles in it."""
    rows = session.execute(_SETTINGS, [name]).fetchall()
    pairs = [(role, *entry.split("=", 1)) for role, entry in rows]
    return tuple(DatabaseSetting(role=role, name=key, value=value) for role, key, value in pairs)


def list_privileges(session: psycopg.Connection[Any], name: str) -> tuple[Privilege, ...] | None:
    """Who may do what with the database called ``name``; ``None`` for the server's default."""
    acl = session.execute("SELECT datacl IS NULL FROM pg_database WHERE datname = %s", [name]).fetchone()
    if acl is None or acl[0]:
        return None
    rows = session.execute(_PRIVILEGES, [name]).fetchall()
    return tuple(Privilege(grantee=who, privilege=what, grantable=option) for who, what, option in rows)


def database_row(session: psycopg.Connection[Any], name: str) -> dict[str, Any] | None:
    """The row of ``pg_database``, with names instead of oids, ``comment`` and ``size`` in bytes."""
    row = session.execute(_DATABASE, [name]).fetchone()
    return None if row is None else dict(row[0])


def describe(session: psycopg.Connection[Any], alias: str, excluded: Sequence[str]) -> DatabaseDetails:
    """What a restore needs to know of the database of ``session``. Raises ``RefusedError`` for ``excluded``
    tables that do not exist or that kept rows point to."""
    (name,) = session.execute("SELECT current_database()").fetchone() or ("",)
    _check_excluded(session, alias, excluded)
    row = database_row(session, name) or {}
    provider = _PROVIDERS.get(row.get("datlocprovider", "c"), "libc")
    extensions = session.execute("SELECT extname, extversion FROM pg_extension ORDER BY 1").fetchall()
    (has_migrations,) = session.execute(
        "SELECT to_regclass('public.django_migrations') IS NOT NULL"
    ).fetchone() or (False,)
    migrations = session.execute(_MIGRATIONS).fetchall() if has_migrations else []
    return DatabaseDetails(
        alias=alias,
        name=name,
        tables=list_tables(session),
        migrations=dict(migrations),
        size=row["size"],
        encoding=row["encoding_name"],
        provider=provider,
        collate=row["datcollate"],
        ctype=row["datctype"],
        locale=row.get("datlocale", row.get("daticulocale")),
        icu_rules=row.get("daticurules"),
        owner=row["owner"],
        tablespace=row["tablespace"],
        connection_limit=row["datconnlimit"],
        comment=row["comment"],
        extensions=dict(extensions),
        roles=tuple(found[0] for found in session.execute(_ROLES)),
        settings=list_settings(session, name),
        privileges=list_privileges(session, name),
        excluded_data=tuple(excluded),
    )


def _check_excluded(session: psycopg.Connection[Any], alias: str, excluded: Sequence[str]) -> None:
    setting = f"IGNY8_BACKUP['EXCLUDE_TABLE_DATA'][{alias!r}]"
    oids = []
    for table in excluded:
        (oid,) = session.execute("SELECT to_regclass(%s)::oid", [table]).fetchone() or (None,)
        if oid is None:
            raise RefusedError(
                f"{setting} names {table!r}, which is no table of this database.",
                untouched="Nothing was dumped.",
                fix="Correct the name (schema.table where the schema is not public), or remove it.",
            )
        oids.append(oid)
    if dangling := session.execute(_DANGLING, {"tables": oids}).fetchone():
        raise RefusedError(
            f"{setting} leaves out the rows of {dangling[1]}, which rows of {dangling[0]} point to:"
            " such a backup could never be restored.",
            untouched="Nothing was dumped.",
            fix=f"Remove {dangling[1]} from the setting, or add {dangling[0]} as well.",
        )
