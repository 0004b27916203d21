"""Apply the settings, privileges, connection limit, labels and comment of a database.

A dump contains none of these, and a swap must transfer them from the old database to the new one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from igny8_backup.databases.postgresql.introspection import list_privileges
from igny8_backup.databases.quoting import identifier, literal
from igny8_backup.databases.redact import without_values
from igny8_backup.databases.session import DriverError, Session
from igny8_backup.errors import DatabaseError
from igny8_backup.formats.details import DatabaseSetting, Privilege, SecurityLabel

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

    If the server refuses some of them, applies all others and raises :class:`DatabaseError` with the names of
    those that it refused.
    """
    refused = []
    for setting in settings:
        try:
            _apply(session, database, setting)
        except DriverError as error:
            owner = f"of role {setting.role} in the database" if setting.role else "of the database"
            refused.append(f"{setting.name} {owner} ({_reason(error)})")
    if refused:
        raise DatabaseError(
            f"These settings could not be copied to {database}: {', '.join(refused)}.",
            unchanged="The live database was not changed.",
            hint="Restore as a superuser, or let a superuser reset these settings until the restore has"
            " ended.",
        )


def setting_blockers(
    session: Session, database: str, settings: Sequence[DatabaseSetting], *, exists: bool
) -> list[str]:
    """Return a sentence for each of ``settings`` that the current role cannot apply to ``database``.

    ``exists`` is true if ``database`` exists and ``settings`` were read from it, false if they come from a
    backup; the remedy in the sentence depends on that. Each setting is tried in a transaction that is rolled
    back, on the database of ``session``, so that ``database`` need not exist. A setting that applies to all
    roles is tried for the current role only. Settings of roles that do not exist are ignored.
    """
    (user,) = session.execute("SELECT current_user::text").fetchone() or ("",)
    known = {name for (name,) in session.execute("SELECT rolname FROM pg_roles")} | {""}
    found = []
    for setting in settings:
        if setting.role not in known:
            continue
        try:
            with session.transaction(rollback=True):
                _apply(session, session.dbname, replace(setting, role=setting.role or user))
        except DriverError as error:
            statement = f"{_target(database, setting)} {{}} {identifier(*setting.name.split('.'))}"
            if exists:
                remedy = f"as a superuser, reset it until the restore has ended: {statement.format('RESET')};"
                remedy += " or restore with --in-place, which keeps it."
            else:
                remedy = (
                    f"create an empty database: CREATE DATABASE {identifier(database)}; a restore replaces it"
                )
                remedy += f" without the setting. Then, as a superuser: {statement.format('SET')} TO ...;"
            owner = f" of the role {setting.role}" if setting.role else ""
            found.append(
                f"The role {user} cannot give the restored database the setting {setting.name}{owner}"
                f" ({_reason(error)}): {remedy}"
            )
    return found


def _apply(session: Session, database: str, setting: DatabaseSetting) -> None:
    values = list_items(setting.value) if setting.name.lower() in _NAME_LISTS else [setting.value]
    name, value = identifier(*setting.name.split(".")), ", ".join(map(literal, values))
    session.execute(f"{_target(database, setting)} SET {name} TO {value}")


def _target(database: str, setting: DatabaseSetting) -> str:
    if setting.role:
        return f"ALTER ROLE {identifier(setting.role)} IN DATABASE {identifier(database)}"
    return f"ALTER DATABASE {identifier(database)}"


def _reason(error: DriverError) -> str:
    # The full message may contain the value, which may be a secret.
    return without_values(error.primary or error.name)


def list_items(value: str) -> list[str]:
    """Split a setting's value that is a list of names, and remove the quotes of each name.

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


def apply_template(session: Session, database: str, is_template: bool) -> None:
    """Mark ``database`` as a template or not. A template cannot be dropped."""
    session.execute(f"ALTER DATABASE {identifier(database)} IS_TEMPLATE {literal(is_template)}")


def apply_labels(session: Session, database: str, labels: Sequence[SecurityLabel]) -> None:
    """Set the security ``labels`` of ``database``.

    Raises ``DriverError`` if the server has not loaded the module that provides a label.
    """
    for item in labels:
        target = f"FOR {identifier(item.provider)} ON DATABASE {identifier(database)}"
        session.execute(f"SECURITY LABEL {target} IS {literal(item.label)}")


def apply_comment(session: Session, database: str, text: str | None) -> None:
    """Set the comment of ``database``; ``None`` removes it."""
    session.execute(f"COMMENT ON DATABASE {identifier(database)} IS {literal(text)}")


def _grantee(name: str) -> str:
    return identifier(name) if name else "PUBLIC"
