"""Find the reasons why every restore with a swap would fail, whatever the backup. Nothing is changed.

The plan of a restore lists these reasons, and the system checks report them before there is need to restore.
"""

from __future__ import annotations

import re

from igny8_backup.conf import Problem
from igny8_backup.databases.names import STAGING, derived_name
from igny8_backup.databases.postgresql.attributes import setting_blockers
from igny8_backup.databases.postgresql.connections.connection import Connection, is_pooled, is_replica
from igny8_backup.databases.postgresql.introspection import database_row, list_settings
from igny8_backup.databases.postgresql.roles.limits import RESTORE_SESSIONS, limit_blockers
from igny8_backup.databases.quoting import identifier
from igny8_backup.databases.session import Session
from igny8_backup.errors import DatabaseError
from igny8_backup.formats.details import DatabaseDetails

_OWNER = """
    SELECT pg_get_userbyid(datdba)::text, current_user::text FROM pg_database
    WHERE datname = %s AND NOT pg_has_role(datdba, 'USAGE')"""

_FACTS = """
    SELECT session_user::text, current_setting('temp_file_limit'), rolsuper,
           current_setting('session_replication_role'),
           (SELECT setting FROM pg_settings WHERE name = 'session_preload_libraries')
    FROM pg_roles WHERE rolname = session_user"""

_NO_STAMP = "00000000T000000Z"
"""The time in the name of a database that never exists."""


def standing_blockers(session: Session, live: Connection) -> list[str]:
    """Return the reasons against every restore with a swap, whatever the backup.

    ``session`` is in a maintenance database of the server of ``live``.
    """
    if is_replica(session) or is_pooled(session):
        return []  # preflight.server_blockers() reports it
    names = [derived_name(live.name, STAGING, _NO_STAMP)]
    names += [live.name] if database_row(session, live.name) is None else []
    return [
        *_creation_blockers(session),
        *_owner_blockers(session, live.name),
        *limit_blockers(session, live.name, needed=RESTORE_SESSIONS),
        *setting_blockers(session, live.name, list_settings(session, live.name), exists=True),
        *[text for name in names for text in _access_blockers(live, name)],
    ]


def restore_problems(live: Connection) -> list[Problem]:
    """Return a warning (W011) for each reason why every restore with a swap would fail on this server."""
    try:
        with live.maintenance() as session:
            found = standing_blockers(session, live)
    except DatabaseError as error:
        found = [str(error)]
    return [
        Problem(
            id="igny8_backup.W011",
            message=f"restore_all would not restore the database {live.alias!r} here. {text}",
            hint="Change this before the day of a restore, or restore on another server.",
        )
        for text in found
    ]


def find_notes(live: Connection, details: DatabaseDetails) -> list[str]:
    """Return notes on what may surprise when the database that ``details`` describes is restored."""
    with live.maintenance() as session:
        row = session.execute(_FACTS).fetchone()
    user, limit, superuser, replication_role, libraries = row or ("", "-1", False, "", "")
    found = []
    if libraries:  # only privileged roles may see the setting
        found.append(
            f"{details.alias}: session_preload_libraries loads {libraries} into the sessions of the restore."
            " A library that audits or rewrites statements does so during the restore too."
        )
    if replication_role == "replica":
        found.append(
            f"{details.alias}: session_replication_role is replica for {user}: while migrations run, most"
            " triggers do not fire, and foreign keys are not enforced. As a superuser, until the restore has"
            f" ended: ALTER ROLE {identifier(user)} SET session_replication_role = origin;"
        )
    if limit != "-1":
        role = identifier(user)
        found.append(
            f"{details.alias}: temp_file_limit is {limit} for {user}: indexes of larger tables could not be"
            " built. As a superuser, until the restore has ended:"
            f" ALTER ROLE {role} SET temp_file_limit = -1;"
        )
    if details.grantors and not superuser:
        found.append(
            f"{details.alias}: privileges that {', '.join(details.grantors)} granted will be granted by the"
            " owners of the objects, because only a superuser may grant them in the name of another role."
        )
    return found


def _creation_blockers(session: Session) -> list[str]:
    user, allowed = session.execute(
        "SELECT current_user::text, rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
    ).fetchone() or ("", False)
    if allowed:
        return []
    return [
        f"The role {user} may not create databases: ALTER ROLE {identifier(user)} CREATEDB;"
        " if nobody can grant that, only restore_all --in-place works."
    ]


def _owner_blockers(session: Session, name: str) -> list[str]:
    row = session.execute(_OWNER, [name]).fetchone()
    if row is None:
        return []
    owner, user = row
    return [
        f"The live database belongs to {owner}, whose privileges the role {user} lacks: ALTER DATABASE"
        f" {identifier(name)} OWNER TO {identifier(user)};"
    ]


def _access_blockers(live: Connection, name: str) -> list[str]:
    """Return a reason if pg_hba.conf does not let this role connect to the database ``name``.

    No database ``name`` exists, so each attempt to connect fails. But the server checks pg_hba.conf first,
    and if that file is the cause, the error message contains its name in every language.
    """
    try:
        with live.to(name).open():
            return []
    except DatabaseError as error:
        if "pg_hba.conf" not in error.what:
            return []
    names = f"/^{re.escape(live.name)}__(side|before|drill)_"
    return [
        f"pg_hba.conf on the server does not let {live.where} connect to databases like {name}, which a"
        f" restore creates: allow the role these databases as well (from PostgreSQL 16 on, as {names!r}), or"
        " restore with --in-place."
    ]
