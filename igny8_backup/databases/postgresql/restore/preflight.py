"""What stands in the way of a PostgreSQL restore, found before anything is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from igny8_backup.databases.postgresql.clients import find_client, major_of, require_major
from igny8_backup.databases.postgresql.connection import Connection, is_pooled, server_version
from igny8_backup.databases.postgresql.introspection import database_row
from igny8_backup.databases.postgresql.sessions import protected_roles
from igny8_backup.errors import BackupError
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.manifest import DatabasePart

# Roles of managed servers: no superusers, yet allowed to create extensions that want one.
_MANAGED_ADMINS = ["rds_superuser", "cloudsqlsuperuser", "azure_pg_admin"]

_LIVE = {
    "Prepared transactions are open in the live database: COMMIT PREPARED or ROLLBACK PREPARED them.": (
        "SELECT EXISTS (SELECT FROM pg_prepared_xacts WHERE database = %s)"
    ),
    "Replication slots belong to the live database and would follow the old one: drop them.": (
        "SELECT EXISTS (SELECT FROM pg_replication_slots WHERE database = %s)"
    ),
    "Subscriptions are enabled in the live database: ALTER SUBSCRIPTION ... DISABLE.": (
        "SELECT EXISTS (SELECT FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid"
        " WHERE d.datname = %s AND s.subenabled)"
    ),
    "The live database belongs to a role that this one cannot act for.": (
        "SELECT EXISTS (SELECT FROM pg_database WHERE datname = %s AND NOT pg_has_role(datdba, 'USAGE'))"
    ),
}


def find_blockers(
    live: Connection, part: DatabasePart, details: DatabaseDetails, bin_dir: Path | None
) -> list[str]:
    """Why this dump cannot be restored on the server of ``live``, one sentence each, with the way out."""
    with live.maintenance() as session:
        found = server_blockers(session, live, part, details, bin_dir)
        found += _creation_blockers(session)
        if database_row(session, live.name) is None:
            found += _new_database_blockers(session, details)
        found += _live_blockers(session, live.name)
    return found


def server_blockers(
    session: psycopg.Connection[Any],
    live: Connection,
    part: DatabasePart,
    details: DatabaseDetails,
    bin_dir: Path | None,
) -> list[str]:
    """What of the server stands in the way, wherever on it the dump goes: versions, roles, extensions."""
    found = _version_blockers(session, part, bin_dir)
    if session.execute("SELECT pg_is_in_recovery()").fetchone() == (True,):
        return [*found, "The server is a replica: restore on the primary."]
    if is_pooled(session):
        found.append(
            f"A connection pooler stands before {live.where}: restore past it, with the HOST"
            " and PORT of the server itself."
        )
    found += _role_blockers(session, details)
    found += _extension_blockers(session, details)
    return found


def _version_blockers(
    session: psycopg.Connection[Any], part: DatabasePart, bin_dir: Path | None
) -> list[str]:
    server = server_version(session)
    found = []
    if major_of(server) < major_of(part.server_version):
        found.append(
            f"The dump is of PostgreSQL {part.server_version} and this server is {server}: restore to"
            f" {major_of(part.server_version)} or newer."
        )
    try:
        client = find_client("pg_restore", server_major=major_of(server), bin_dir=bin_dir)
        dumped = f"the dump was written by pg_dump {part.dump_version}"
        require_major(client, major_of(part.dump_version), reason=dumped)
    except BackupError as error:
        found.append(str(error))
    return found


def _creation_blockers(session: psycopg.Connection[Any]) -> list[str]:
    user, allowed = session.execute(
        "SELECT current_user::text, rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
    ).fetchone() or ("", False)
    if allowed:
        return []
    return [
        f"The role {user} may not create databases: ALTER ROLE {_quoted(user)} CREATEDB;"
        " where nobody may grant that, see --in-place."
    ]


def _role_blockers(session: psycopg.Connection[Any], details: DatabaseDetails) -> list[str]:
    (user,) = session.execute("SELECT current_user::text").fetchone() or ("",)
    found = []
    known = {row[0] for row in session.execute("SELECT rolname FROM pg_roles")}
    missing = {details.owner, *details.owners, *details.roles} - known
    found += _missing_roles(missing - set(details.policy_roles), "own or may use something")
    found += _missing_roles(missing & set(details.policy_roles), "policies of row-level security name", "")
    # To give something away takes the right to become its owner (15: any membership); to rename the database
    # afterwards takes the owner's own rights.
    become = "SET" if session.info.server_version >= 160000 else "MEMBER"
    for role in sorted({details.owner, *details.owners} & known):
        wanted = [become, "USAGE"] if role == details.owner else [become]
        query = "SELECT bool_and(pg_has_role(%s::name, r)) FROM unnest(%s::text[]) r"
        if session.execute(query, [role, wanted]).fetchone() != (True,):
            found.append(
                f"The role {user} cannot act for {role}, which owns things:"
                f" GRANT {_quoted(role)} TO {_quoted(user)};"
            )
    return found


def _new_database_blockers(session: psycopg.Connection[Any], details: DatabaseDetails) -> list[str]:
    """Roles named by what lies on the database itself; where one is live, its own are taken instead."""
    named = {item.role for item in details.settings} | {item.grantee for item in details.privileges or ()}
    known = {row[0] for row in session.execute("SELECT rolname FROM pg_roles")}
    return _missing_roles(named - known - {"", *details.roles}, "own or may use the database")


def _missing_roles(
    names: set[str], doing: str, hint_for: str = " (make them, or give --no-owner)"
) -> list[str]:
    lines = " ".join(f"CREATE ROLE {_quoted(name)};" for name in sorted(names))
    return [f"Roles that {doing} do not exist here{hint_for}: {lines}"] if names else []


def _extension_blockers(session: psycopg.Connection[Any], details: DatabaseDetails) -> list[str]:
    """Extensions that are not installed, or that this role may not create; trusted ones anybody may."""
    rows = session.execute(
        "SELECT name, bool_or(trusted OR NOT superuser) FROM pg_available_extension_versions GROUP BY name"
    )
    for_all = dict(rows.fetchall())
    (privileged,) = session.execute(
        "SELECT bool_or(rolsuper OR rolname = ANY (%s)) FROM pg_roles WHERE pg_has_role(oid, 'MEMBER')"
        " AND (rolname = current_user OR NOT rolsuper)",
        [_MANAGED_ADMINS],
    ).fetchone() or (False,)
    wanted = sorted(details.extensions)
    found = [
        f"The extension {name} is not installed on this server." for name in wanted if name not in for_all
    ]
    if not privileged:
        found += [
            f"Only a superuser may create the extension {name}: restore with a superuser."
            for name in wanted
            if for_all.get(name) is False
        ]
    if "pg_cron" in details.extensions:
        found.append(
            "The database has the extension pg_cron, which exists in one database of a server only and can"
            " therefore not be made beside it."
        )
    return found


def _live_blockers(session: psycopg.Connection[Any], name: str) -> list[str]:
    """What would make the rename of the live database fail, or follow the old one."""
    found = [text for text, query in _LIVE.items() if session.execute(query, [name]).fetchone() == (True,)]
    if users := protected_roles(session, [name]):
        found.append(
            f"Sessions of {', '.join(users)} are in the live database, which this role may not end: end them."
        )
    return found


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string(None)
