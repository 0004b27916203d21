"""Find the reasons why a restore with a swap would fail, without changing anything.

Each reason is one sentence that includes the remedy.
"""

from __future__ import annotations

from pathlib import Path

from igny8_backup.databases.postgresql.attributes import setting_blockers
from igny8_backup.databases.postgresql.clients import find_client, major_of, require_major
from igny8_backup.databases.postgresql.connections.connection import Connection, is_pooled, is_replica
from igny8_backup.databases.postgresql.connections.sessions import protected_roles
from igny8_backup.databases.postgresql.introspection import database_row
from igny8_backup.databases.postgresql.restore.readiness import standing_blockers
from igny8_backup.databases.postgresql.roles.membership import MANAGED_ADMINS, powerful_roles, reachable_roles
from igny8_backup.databases.quoting import identifier
from igny8_backup.databases.session import Session
from igny8_backup.errors import BackupError
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.parts.database import DatabasePart

_LIVE = """
    SELECT 'Prepared transactions are open in the live database: COMMIT PREPARED or ROLLBACK PREPARED them.'
      WHERE EXISTS (SELECT FROM pg_prepared_xacts WHERE database = %(name)s)
    UNION ALL SELECT 'Replication slots belong to the live database and would stay with the previous'
      ' database after the swap: drop them.'
      WHERE EXISTS (SELECT FROM pg_replication_slots WHERE database = %(name)s)
    UNION ALL SELECT 'Subscriptions are enabled in the live database: disable them'
      ' (ALTER SUBSCRIPTION ... DISABLE).'
      WHERE EXISTS (SELECT FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
                    WHERE d.datname = %(name)s AND s.subenabled)"""


def find_blockers(
    live: Connection, part: DatabasePart, details: DatabaseDetails, bin_dir: Path | None
) -> list[str]:
    """Return the reasons why a dump cannot be restored on the server of ``live`` and swapped in.

    ``part`` is the entry of the dump in the manifest, ``details`` are the recorded properties of the
    database, and ``bin_dir`` is the setting ``CLIENT_BIN_DIR``.
    """
    with live.maintenance() as session:
        found = server_blockers(session, live, part, details, bin_dir)
        found += standing_blockers(session, live)
        if database_row(session, live.name) is None:
            found += _new_database_blockers(session, live.name, details)
        found += _live_blockers(session, live.name)
    return found


def server_blockers(
    session: Session,
    live: Connection,
    part: DatabasePart,
    details: DatabaseDetails,
    bin_dir: Path | None,
) -> list[str]:
    """Return the reasons against any restore of the dump on the server: versions, roles and extensions.

    ``session`` is in any database of the server of ``live``. The other arguments are those of
    :func:`find_blockers`.
    """
    found = _version_blockers(session, part, bin_dir)
    if is_replica(session):
        return [*found, "The server is a replica: restore on the primary."]
    if is_pooled(session):
        found.append(
            f"{live.where} is a connection pooler: set HOST and PORT of the server itself for the restore."
        )
    found += _role_blockers(session, details)
    found += _extension_blockers(session, details)
    return found


def _version_blockers(session: Session, part: DatabasePart, bin_dir: Path | None) -> list[str]:
    server = session.server_version_text
    found = []
    if major_of(server) < major_of(part.server_version):
        found.append(
            f"The dump is of PostgreSQL {part.server_version} and this server is {server}, which is older:"
            f" restore to version {major_of(part.server_version)} or newer."
        )
    try:
        client = find_client("pg_restore", server_major=major_of(server), bin_dir=bin_dir)
        dumped = f"the dump was written by pg_dump {part.dump_version}"
        require_major(client, major_of(part.dump_version), reason=dumped)
    except BackupError as error:
        found.append(str(error))
    return found


def _role_blockers(session: Session, details: DatabaseDetails) -> list[str]:
    (user,) = session.execute("SELECT current_user::text").fetchone() or ("",)
    found = []
    known = {row[0] for row in session.execute("SELECT rolname FROM pg_roles")}
    missing = {details.owner, *details.owners, *details.roles} - known
    found += _missing_roles(missing - set(details.policy_roles), "own something or have privileges")
    found += _missing_roles(missing & set(details.policy_roles), "row-level security policies name", "")
    reachable = reachable_roles(session)
    if details.owner in reachable:  # renaming the database afterwards needs the privileges of its owner
        inherits = session.execute("SELECT pg_has_role(%s::name, 'USAGE')", [details.owner]).fetchone()
        reachable = reachable if inherits == (True,) else reachable - {details.owner}
    powerful = powerful_roles(session)
    for role in sorted(({details.owner, *details.owners} & known) - reachable):
        problem = f"The role {user} may not create objects that belong to {role}"
        if role in powerful:
            found.append(
                f"{problem}, and should not become a member of that powerful role: restore with --no-owner,"
                f" so that {user} owns everything."
            )
        else:
            grant = f"GRANT {identifier(role)} TO {identifier(user)};"
            found.append(f"{problem}: {grant} or restore with --no-owner, so that {user} owns everything.")
    return found


def _new_database_blockers(session: Session, name: str, details: DatabaseDetails) -> list[str]:
    """Return the reasons against creating the live database ``name`` on a server where it does not exist.

    The new database gets the recorded settings and privileges, which may name roles that do not exist.
    """
    named = {item.role for item in details.settings} | {item.grantee for item in details.privileges or ()}
    known = {row[0] for row in session.execute("SELECT rolname FROM pg_roles")}
    missing = named - known - {"", *details.roles}
    return [
        *_missing_roles(missing, "have settings or privileges in the database"),
        *setting_blockers(session, name, details.settings, exists=False),
    ]


def _missing_roles(
    names: set[str], relation: str, hint: str = " (create them, or use --no-owner)"
) -> list[str]:
    statements = " ".join(f"CREATE ROLE {identifier(name)};" for name in sorted(names))
    return [f"Roles that {relation} do not exist here{hint}: {statements}"] if names else []


def _extension_blockers(session: Session, details: DatabaseDetails) -> list[str]:
    """Return a reason for each extension that is not installed or that this role may not create.

    Trusted extensions do not need a superuser. ``pg_cron`` is always a reason, because it can exist in one
    database of a server only.
    """
    rows = session.execute(
        "SELECT name, bool_or(trusted OR NOT superuser) FROM pg_available_extension_versions GROUP BY name"
    )
    for_every_role = dict(rows.fetchall())
    (privileged,) = session.execute(
        "SELECT bool_or(rolsuper OR rolname = ANY (%s)) FROM pg_roles WHERE pg_has_role(oid, 'MEMBER')"
        " AND (rolname = current_user OR NOT rolsuper)",
        [MANAGED_ADMINS],
    ).fetchone() or (False,)
    names = sorted(details.extensions)
    found = [
        f"The extension {name} is not installed on this server: install its package there."
        for name in names
        if name not in for_every_role
    ]
    if not privileged:
        found += [
            f"Only a superuser may create the extension {name}: restore with a superuser."
            for name in names
            if for_every_role.get(name) is False
        ]
    if "pg_cron" in details.extensions:
        found.append(
            "The database has the extension pg_cron, which can exist in one database of a server only, so a"
            " staging database cannot have it: move the extension to another database, and restore a backup"
            " that was made after that."
        )
    return found


def _live_blockers(session: Session, name: str) -> list[str]:
    """Return the reasons against renaming the live database ``name``.

    For example, a replication slot would stay with the renamed database.
    """
    found = [blocker for (blocker,) in session.execute(_LIVE, {"name": name})]
    if roles := protected_roles(session, [name]):
        found.append(
            f"The live database has sessions of {', '.join(roles)}, which this role may not end: end them."
        )
    return found
