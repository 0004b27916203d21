"""Read marks of the live database, which show whether the SQL of a dump has changed it.

Marks are the identity, the attributes and the settings of the database, and the attributes of the role that
connects to it. They are read before and after a dump is loaded, and compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from igny8_backup.databases.postgresql.connections.connection import Connection
from igny8_backup.databases.postgresql.introspection import system_identifier

_DATABASE = """
    SELECT oid::text, pg_get_userbyid(datdba)::text, datallowconn::text, datconnlimit::text,
      coalesce(datacl::text, ''), coalesce(shobj_description(oid, 'pg_database'), '')
    FROM pg_database WHERE datname = %s"""
_NAMES = ("oid", "owner", "permission to connect", "connection limit", "privileges", "comment")

# Other roles may be created or changed at any time.
_SETTINGS = """
    SELECT coalesce(string_agg(concat_ws(' ', r.rolname, s.setconfig::text), '; '
      ORDER BY r.rolname, s.setdatabase), '')
    FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase
      LEFT JOIN pg_roles r ON r.oid = s.setrole
    WHERE d.datname = %s OR s.setdatabase = 0 AND r.rolname IN (current_user, session_user)"""
_ROLES = """
    SELECT coalesce(string_agg(concat_ws(' ', rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb,
      rolcanlogin, rolreplication, rolbypassrls, rolconnlimit), '; ' ORDER BY rolname), '')
    FROM pg_roles WHERE rolname IN (current_user, session_user)"""
_TABLES = """
    SELECT coalesce(string_agg(oid::text, ',' ORDER BY oid), '') FROM pg_class
    WHERE oid >= 16384 AND relpersistence <> 't'"""


def live_marks(live: Connection, *, contents: bool) -> Mapping[str, str]:
    """Return the marks of the live database by their names, such as ``oid``, ``owner`` and ``settings``.

    With ``contents``, the result also has the mark ``tables``, a digest of the oids of all tables. (A restore
    in place creates new tables, which have new oids.) The marks of settings and roles are digests too. The
    marks of the database itself are empty if it does not exist. Raises ``DatabaseError``.
    """
    with live.maintenance() as session:
        row = session.execute(_DATABASE, [live.name]).fetchone() or ("",) * len(_NAMES)
        found = {"system identifier": system_identifier(session), **dict(zip(_NAMES, row, strict=True))}
        (settings,) = session.execute(_SETTINGS, [live.name]).fetchone() or ("",)
        (roles,) = session.execute(_ROLES).fetchone() or ("",)
    found |= {"settings": _digest(settings), "attributes of its role": _digest(roles)}
    if contents:
        with live.open() as session:
            (tables,) = session.execute(_TABLES).fetchone() or ("",)
        found["tables"] = _digest(tables)
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
