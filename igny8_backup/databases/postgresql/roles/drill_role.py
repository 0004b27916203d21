"""Create a role for one drill. The role owns nothing but the databases of that drill."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from igny8_backup.databases.postgresql.connections.connection import Connection
from igny8_backup.databases.postgresql.connections.other_access import with_access
from igny8_backup.databases.quoting import identifier, literal
from igny8_backup.databases.session import DriverError, Session
from igny8_backup.databases.values import ServerAccess
from igny8_backup.errors import DatabaseError
from igny8_backup.formats.details import DatabaseDetails

_ROUNDS = 4096  # the default of PostgreSQL (scram_iterations)

# From PostgreSQL 16 on, a role can give only the attributes that it has itself ("CREATE ROLE").
_MAY_CREATE = """
    SELECT rolsuper OR rolcreaterole AND (rolcreatedb OR current_setting('server_version_num')::int < 160000)
    FROM pg_roles WHERE rolname = current_user"""
_OWN_ROLES = "SELECT rolname::text FROM pg_roles WHERE starts_with(rolname, %s) ORDER BY 1"


@contextmanager
def drill_role(live: Connection, name: str) -> Iterator[ServerAccess | None]:
    """Create the role ``name``, yield how to connect with it, and drop it when the context ends.

    The role may create databases, and nothing else. The caller must drop the databases of the role before the
    context ends. Yields ``None`` if the role of ``live`` may not create roles, or if the server does not let
    the new role connect. Raises ``DatabaseError``.
    """
    password = secrets.token_urlsafe(24)
    with live.maintenance() as session:
        if session.execute(_MAY_CREATE).fetchone() != (True,):
            yield None
            return
        verifier = literal(scram_verifier(password))
        try:
            session.execute(f"CREATE ROLE {identifier(name)} LOGIN CREATEDB PASSWORD {verifier}")
        except DriverError:
            yield None
            return
    access = ServerAccess(user=name, password=password)
    try:
        try:
            with with_access(live, access).maintenance():
                usable: ServerAccess | None = access
        except DatabaseError:  # pg_hba.conf names other roles, or another method than a password
            usable = None
        yield usable
    finally:
        with live.maintenance() as session:
            session.execute(f"DROP ROLE IF EXISTS {identifier(name)}")


def adopt_drill_roles(session: Session, prefix: str) -> tuple[str, ...]:
    """Find the roles that killed drills left behind, and make the current role a member of each.

    The names of these roles begin with ``prefix``. A member may drop the databases of a role. Returns the
    names of the roles.
    """
    found = tuple(name for (name,) in session.execute(_OWN_ROLES, [prefix]))
    for name in found:
        session.execute(f"GRANT {identifier(name)} TO CURRENT_USER")
    return found


def drop_roles(session: Session, names: tuple[str, ...]) -> None:
    """Drop the roles ``names`` of killed drills.

    A role that cannot be dropped is skipped, because it may still own the database of another alias.
    """
    for name in names:
        with suppress(DriverError):
            session.execute(f"DROP ROLE IF EXISTS {identifier(name)}")


def create_missing_roles(session: Session, details: DatabaseDetails, member: str) -> None:
    """Create the role ``member``, which may create databases, and the roles that ``details`` mention.

    ``member`` becomes a member of the other new roles, so that it can restore the objects that belong to
    them. Roles that exist are not changed. Names that begin with ``pg_`` are skipped, because PostgreSQL
    reserves them for its predefined roles.
    """
    known = {name for (name,) in session.execute("SELECT rolname::text FROM pg_roles")}
    if member not in known:
        session.execute(f"CREATE ROLE {identifier(member)} LOGIN CREATEDB")
    known.add(member)
    for name in sorted({details.owner, *details.owners, *details.roles} - known - {""}):
        if not name.startswith("pg_"):
            session.execute(f"CREATE ROLE {identifier(name)} NOLOGIN")
            session.execute(f"GRANT {identifier(name)} TO {identifier(member)}")


def scram_verifier(password: str) -> str:
    """Return the hash that the server stores for an ASCII ``password`` (RFC 5803).

    CREATE ROLE accepts the hash instead of the password, so that no log of the server shows the password. The
    format is ``SCRAM-SHA-256$ROUNDS:SALT$STOREDKEY:SERVERKEY`` (PostgreSQL docs, ``pg_authid``).
    """
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ROUNDS)
    client = hmac.digest(salted, b"Client Key", "sha256")
    server = hmac.digest(salted, b"Server Key", "sha256")
    shown = [b64encode(item).decode() for item in (salt, hashlib.sha256(client).digest(), server)]
    return f"SCRAM-SHA-256${_ROUNDS}:{shown[0]}${shown[1]}:{shown[2]}"
