"""What lies on a database and not in it: settings, privileges, connection limit, comment.

A dump of a database does not hold these, and they do not follow a rename: they are given, one by one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from igny8_backup.databases.postgresql.introspection import list_privileges
from igny8_backup.databases.redact import without_values
from igny8_backup.errors import DatabaseError
from igny8_backup.formats.details import DatabaseSetting, Privilege

_PRIVILEGES = ("CONNECT", "CREATE", "TEMPORARY")

# Settings that are lists of names, stored with each name quoted (GUC_LIST_QUOTE in PostgreSQL's sources):
# given as one string they would become one name.
_NAME_LISTS = {
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
}
_LISTED = re.compile(r'"((?:[^"]|"")*)"|([^",\s]+)')


def apply_settings(
    session: psycopg.Connection[Any], database: str, settings: Sequence[DatabaseSetting]
) -> None:
    """Gives ``database`` these settings, its own and those of roles in it. Raises :class:`DatabaseError`
    naming the one that this role may not give."""
    for setting in settings:
        target = sql.SQL("ALTER DATABASE {}").format(sql.Identifier(database))
        if setting.role:
            target = sql.SQL("ALTER ROLE {} IN DATABASE {}").format(
                sql.Identifier(setting.role), sql.Identifier(database)
            )
        values = list_items(setting.value) if setting.name.lower() in _NAME_LISTS else [setting.value]
        try:
            session.execute(
                sql.SQL("{} SET {} TO {}").format(
                    target,
                    sql.Identifier(*setting.name.split(".")),
                    sql.SQL(", ").join(map(sql.Literal, values)),
                )
            )
        except psycopg.Error as error:
            # Not all its words: they may repeat the value, which may be a secret.
            why = without_values(error.diag.message_primary or type(error).__name__)
            owner = f"of role {setting.role} in the database" if setting.role else "of the database"
            user = sql.Identifier(session.info.user).as_string(None)
            raise DatabaseError(
                f"The setting {setting.name} {owner} cannot be carried over: {why}.",
                unchanged="The live database is as it was.",
                hint=f"As a superuser: GRANT SET ON PARAMETER {setting.name} TO {user}; or restore with a"
                " superuser, or drop that setting first.",
            ) from None


def list_items(value: str) -> list[str]:
    """``["$user", "public"]`` of ``"$user", public``; one empty name of an empty list."""
    found = [
        match[1].replace('""', '"') if match[2] is None else match[2] for match in _LISTED.finditer(value)
    ]
    return found or [""]


def apply_privileges(
    session: psycopg.Connection[Any], database: str, privileges: Sequence[Privilege] | None
) -> None:
    """Gives the database exactly ``privileges``; ``None`` is the server's default (PostgreSQL docs, 5.8): all
    may connect and use temporary tables, and the owner may do everything."""
    name = sql.Identifier(database)
    present = {item.grantee for item in list_privileges(session, database) or ()} | {""}
    for grantee in sorted(present):
        session.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(name, _grantee(grantee)))
    if privileges is None:
        (owner,) = session.execute(
            "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", [database]
        ).fetchone() or ("",)
        session.execute(sql.SQL("GRANT ALL ON DATABASE {} TO {}").format(name, sql.Identifier(owner)))
        session.execute(sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO PUBLIC").format(name))
    for item in privileges or ():
        if item.privilege in _PRIVILEGES:
            session.execute(
                sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(
                    sql.SQL(item.privilege),
                    name,
                    _grantee(item.grantee),
                    sql.SQL(" WITH GRANT OPTION" if item.grantable else ""),
                )
            )


def apply_limit(session: psycopg.Connection[Any], database: str, limit: int) -> None:
    """How many sessions the database takes; -1 for any number."""
    session.execute(
        sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(sql.Identifier(database), sql.Literal(limit))
    )


def apply_comment(session: psycopg.Connection[Any], database: str, text: str | None) -> None:
    session.execute(
        sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(database), sql.Literal(text))
    )


def _grantee(name: str) -> sql.Composable:
    return sql.Identifier(name) if name else sql.SQL("PUBLIC")
