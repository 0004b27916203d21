"""Apply what belongs to a database but is not in it: settings, privileges, connection limit, comment.

A dump does not hold these, and settings do not follow a rename, so a restore applies them itself.
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

# Settings that are lists of names, stored with each name quoted (GUC_LIST_QUOTE in PostgreSQL's sources).
# Set as one string they would become one name.
_NAME_LISTS = {
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
}
_LIST_ITEM = re.compile(r'"((?:[^"]|"")*)"|([^",\s]+)')


def apply_settings(
    session: psycopg.Connection[Any], database: str, settings: Sequence[DatabaseSetting]
) -> None:
    """Apply ``settings`` to ``database``: its own, and those of roles in it (ALTER ROLE IN DATABASE).

    Raises :class:`DatabaseError` naming the first setting that the server refuses.
    """
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
            # The whole message may repeat the value, which may be a secret.
            reason = without_values(error.diag.message_primary or type(error).__name__)
            owner = f"of role {setting.role} in the database" if setting.role else "of the database"
            user = sql.Identifier(session.info.user).as_string(None)
            raise DatabaseError(
                f"The setting {setting.name} {owner} could not be copied: {reason}.",
                unchanged="The live database was not changed.",
                hint=f"As a superuser: GRANT SET ON PARAMETER {setting.name} TO {user}; or restore with a"
                " superuser, or reset the setting first.",
            ) from None


def list_items(value: str) -> list[str]:
    """Return ``['$user', 'public']`` for ``"$user", public``, and one empty name for an empty list."""
    found = [
        match[1].replace('""', '"') if match[2] is None else match[2] for match in _LIST_ITEM.finditer(value)
    ]
    return found or [""]


def apply_privileges(
    session: psycopg.Connection[Any], database: str, privileges: Sequence[Privilege] | None
) -> None:
    """Give ``database`` exactly ``privileges``.

    ``None`` stands for the server's default (PostgreSQL docs, 5.8): everybody may connect and create
    temporary tables, and the owner has all privileges.
    """
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
    """Set how many sessions ``database`` accepts; -1 means no limit."""
    session.execute(
        sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(sql.Identifier(database), sql.Literal(limit))
    )


def apply_comment(session: psycopg.Connection[Any], database: str, text: str | None) -> None:
    """Set the comment of ``database``; ``None`` removes it."""
    session.execute(
        sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(database), sql.Literal(text))
    )


def _grantee(name: str) -> sql.Composable:
    return sql.Identifier(name) if name else sql.SQL("PUBLIC")
