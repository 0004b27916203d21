"""Create, configure and drop staging databases, and describe the live database."""

from __future__ import annotations

from igny8_backup.databases.names import DRILL, STAGING, is_derived_name
from igny8_backup.databases.postgresql.attributes import apply_labels, apply_settings
from igny8_backup.databases.postgresql.connections.connection import Connection, sentence
from igny8_backup.databases.postgresql.connections.sessions import run_without_sessions
from igny8_backup.databases.postgresql.hints import hint_for
from igny8_backup.databases.postgresql.introspection import (
    database_row,
    list_labels,
    list_settings,
    list_tables,
)
from igny8_backup.databases.quoting import identifier, literal
from igny8_backup.databases.session import DriverError, DuplicateDatabase, Session
from igny8_backup.databases.values import Target
from igny8_backup.errors import DatabaseError, RefusedError
from igny8_backup.formats.details import DatabaseDetails, DatabaseSetting

# If a client is killed during CREATE DATABASE, the server finishes the statement, and only then the database
# becomes visible. Creating and dropping take this lock, so that a drop waits until the server has finished.
_LOCK_NAME = "SELECT pg_advisory_lock(hashtextextended(%s, 0))"


_HINTS = (
    # The beginning of SQLSTATEs (PostgreSQL docs, appendix A), and the hint.
    (
        ("53100", "53200", "58"),
        "Free space on the volume of the database, or of its tablespace, on the server (its log says more);"
        " then run again.",
    ),
    (
        ("42501",),
        "As a superuser, give the role what it lacks: ALTER ROLE ... CREATEDB; membership in the owner; or"
        " GRANT CREATE ON TABLESPACE. Then run again, or restore with --no-owner.",
    ),
)
_OTHER_LOCALE = (
    "Install what is missing on the server (locale-gen installs a locale), or restore with another locale:"
    " --locale C.UTF-8."
)


def describe_target(live: Connection) -> Target:
    """Describe the live database. It need not exist."""
    with live.maintenance() as session:
        row = database_row(session, live.name)
    if row is None:
        return Target(name=live.name, where=live.where, exists=False)
    tables = None
    try:
        with live.open() as session:
            tables = len(list_tables(session))
    except DatabaseError:
        pass  # a restore can replace a database that cannot be read
    return Target(name=live.name, where=live.where, exists=True, tables=tables, size=row["size"])


def create_staging(live: Connection, staging: str, details: DatabaseDetails) -> None:
    """Create the database ``staging`` with the encoding, locale and owner that ``details`` record.

    Only its owner and the role of ``live`` may connect to ``staging``, until the swap applies the privileges
    of the live database. If ``staging`` is the name of a drill database, only the role of ``live`` may
    connect. Raises :class:`DatabaseError`.
    """
    name = identifier(staging)
    with live.maintenance() as session:
        session.execute(_LOCK_NAME, [staging])
        try:
            session.execute(f"CREATE DATABASE {name} WITH {_create_options(session, details)}")
        except DuplicateDatabase:
            raise DatabaseError(
                f"The database {staging} already exists: another restore to this server is creating it, or"
                " two aliases lead to the same database.",
                unchanged="Nothing live was changed.",
                hint="Run again; if two aliases lead to the same database, restore one: --only ALIAS.",
            ) from None
        except DriverError as error:
            recorded = f"{details.encoding}, {details.provider}, {details.locale or details.collate}"
            raise DatabaseError(
                f"The staging database could not be created like the recorded one ({recorded}):"
                f" {sentence(error)}.",
                unchanged="Nothing live was changed.",
                hint=_why_not_created(error, live.alias),
            ) from None
        session.execute(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
        if is_derived_name(staging, live.name, DRILL):
            session.execute(f"REVOKE CONNECT ON DATABASE {name} FROM {identifier(details.owner)}")
        # The role that logs in may not be the role that is assumed, and may not inherit its privileges.
        session.execute(f"GRANT CONNECT ON DATABASE {name} TO SESSION_USER")


def _why_not_created(error: DriverError, alias: str) -> str:
    """Return the hint for a ``CREATE DATABASE`` that failed."""
    known = next((hint for codes, hint in _HINTS if error.sqlstate.startswith(codes)), "")
    return known or hint_for("", alias=alias, sqlstate=error.sqlstate or "-") or _OTHER_LOCALE


def _create_options(session: Session, details: DatabaseDetails) -> str:
    tablespaces = {row[0] for row in session.execute("SELECT spcname FROM pg_tablespace")}
    options = [
        ("TEMPLATE", "template0"),
        ("ENCODING", literal(details.encoding)),
        ("LC_COLLATE", literal(details.collate)),
        ("LC_CTYPE", literal(details.ctype)),
        ("OWNER", identifier(details.owner)),
    ]
    if session.server_version >= 150000:
        options.append(("LOCALE_PROVIDER", literal(details.provider)))
    if details.locale:
        word = "BUILTIN_LOCALE" if details.provider == "builtin" else "ICU_LOCALE"
        options.append((word, literal(details.locale)))
    if details.icu_rules:
        options.append(("ICU_RULES", literal(details.icu_rules)))
    # Naming the default tablespace needs a privilege that most roles lack, so leave the option out.
    if details.tablespace != "pg_default" and details.tablespace in tablespaces:
        options.append(("TABLESPACE", identifier(details.tablespace)))
    return " ".join(f"{word} = {value}" for word, value in options)


def copy_settings(live: Connection, staging: str, details: DatabaseDetails) -> None:
    """Apply to ``staging`` the settings of the live database, including those for single roles.

    If there is no live database, the recorded settings are applied. Raises :class:`DatabaseError`.
    """
    with live.maintenance() as session:
        apply_settings(session, staging, _settings(session, live, details))


def copy_labels(live: Connection, staging: str, details: DatabaseDetails) -> None:
    """Give ``staging`` the security labels of the live database, or the recorded ones if there is none.

    Raises :class:`DatabaseError`.
    """
    with live.maintenance() as session:
        exists = database_row(session, live.name) is not None
        labels = list_labels(session, live.name) if exists else details.security_labels
        try:
            apply_labels(session, staging, labels)
        except DriverError as error:
            raise DatabaseError(
                f"The security labels of the database could not be copied to {staging}: {sentence(error)}.",
                hint="Load their provider on the server, and set them by hand: SECURITY LABEL ON DATABASE.",
            ) from None


def _settings(session: Session, live: Connection, details: DatabaseDetails) -> tuple[DatabaseSetting, ...]:
    exists = database_row(session, live.name) is not None
    return list_settings(session, live.name) if exists else details.settings


def stale_staging_databases(live: Connection) -> list[str]:
    """List the staging databases that interrupted restores of ``live`` left behind.

    A staging database in which a session is open is omitted, because a restore may still be loading it.
    """
    query = """
        SELECT datname FROM pg_database d
        WHERE NOT EXISTS (SELECT FROM pg_stat_activity WHERE datid = d.oid)"""
    with live.maintenance() as session:
        return sorted(name for (name,) in session.execute(query) if is_derived_name(name, live.name, STAGING))


def drop_database(live: Connection, name: str) -> None:
    """Drop the staging, previous or drill database ``name``, if it exists.

    Raises :class:`RefusedError` for any other name, :class:`DatabaseError` if the database stays in use.
    """
    if not is_derived_name(name, live.name):
        raise RefusedError(
            f"{name!r} is not a database that a restore of {live.name!r} created.",
            unchanged="It was not dropped.",
            hint="If it is not needed, drop it by hand: DROP DATABASE.",
        )

    # DROP DATABASE ... WITH (FORCE) fails for ordinary roles while autovacuum works in the database. A plain
    # DROP stops autovacuum, and run_without_sessions() ends the sessions.
    def drop(session: Session) -> None:
        session.execute(_LOCK_NAME, [name])
        session.execute(f"DROP DATABASE IF EXISTS {identifier(name)}")

    run_without_sessions(live, [name], drop)
