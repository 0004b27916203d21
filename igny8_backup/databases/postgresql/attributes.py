"""Apply the settings, privileges, connection limit and comment of a database.

A dump does not contain these, and a swap must move them from one database to another.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from igny8_backup.databases.postgresql.introspection import list_privileges
from igny8_backup.databases.quoting import identifier, literal
from igny8_backup.databases.redact import without_values
from igny8_backup.databases.session import DriverError, Session
from igny8_backup.errors import DatabaseError
from igny8_backup.formats.details import DatabaseSetting, Privilege

_PRIVILEGES = ("CONNECT", "CREATE", "TEMPORARY")

# Settings whose values are lists of names, each stored in quotes (GUC_LIST_QUOTE in PostgreSQL's sources). If
# such a list is set as one string, it becomes a single name.
_NAME_LISTS = {
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
}
_LIST_ITEM = re.compile(r'"((?:[^"]|"")*)"|([^",\s]+)')


def apply_settings(session: Session, database: str, settings: Sequence[DatabaseSetting]) -> None:
    """Apply ``settings`` to ``database``, including those of roles (ALTER ROLE ... IN DATABASE).

    Raises :class:`DatabaseError`, which names the setting, as soon as the server refuses one.
    """
    for setting in settings:
        target = f"ALTER DATABASE {identifier(database)}"
        if setting.role:
            target = f"ALTER ROLE {identifier(setting.role)} IN DATABASE {identifier(database)}"
        values = list_items(setting.value) if setting.name.lower() in _NAME_LISTS else [setting.value]
        try:
            name, value = identifier(*setting.name.split(".")), ", ".join(map(literal, values))
            session.execute(f"{target} SET {name} TO {value}")
        except DriverError as error:
            # The full message may contain the value, which may be a secret.
            reason = without_values(error.primary or error.name)
            owner = f"of role {setting.role} in the database" if setting.role else "of the database"
            user = identifier(session.user)
            raise DatabaseError(
                f"The setting {setting.name} {owner} could not be copied: {reason}.",
                unchanged="The live database was not changed.",
                hint=f"As a superuser: GRANT SET ON PARAMETER {setting.name} TO {user}; or restore with a"
                " superuser, or reset the setting first.",
            ) from None


def list_items(value: str) -> list[str]:
    """Split the value of a setting that is a list of names, without quotes.

    ``"$user", public`` gives ``['$user', 'public']``. An empty list gives one empty name.
    """
    found = [
        match[1].replace('""', '"') if match[2] is None else match[2] for match in _LIST_ITEM.finditer(value)
    ]
    return found or [""]


def apply_privileges(session: Session, database: str, privileges: Sequence[Privilege] | None) -> None:
    """Replace all privileges on ``database`` by ``privileges``.

    ``None`` means the server's default (PostgreSQL docs, 5.8): every role may connect and create temporary
    tables, and the owner has all privileges.
    """
    name = identifier(database)
    present = {item.grantee for item in list_privileges(session, database) or ()} | {""}
    for grantee in sorted(present):
        session.execute(f"REVOKE ALL ON DATABASE {name} FROM {_grantee(grantee)}")
    if privileges is None:
        (owner,) = session.execute(
            "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", [database]
        ).fetchone() or ("",)
        session.execute(f"GRANT ALL ON DATABASE {name} TO {identifier(owner)}")
        session.execute(f"GRANT CONNECT, TEMPORARY ON DATABASE {name} TO PUBLIC")
    for item in privileges or ():
        if item.privilege in _PRIVILEGES:
            option = " WITH GRANT OPTION" if item.grantable else ""
            session.execute(f"GRANT {item.privilege} ON DATABASE {name} TO {_grantee(item.grantee)}{option}")


def apply_limit(session: Session, database: str, limit: int) -> None:
    """Set the number of sessions that ``database`` accepts; -1 means no limit."""
    session.execute(f"ALTER DATABASE {identifier(database)} CONNECTION LIMIT {literal(limit)}")


def apply_comment(session: Session, database: str, text: str | None) -> None:
    """Set the comment of ``database``; ``None`` removes it."""
    session.execute(f"COMMENT ON DATABASE {identifier(database)} IS {literal(text)}")


def _grantee(name: str) -> str:
    return identifier(name) if name else "PUBLIC"
