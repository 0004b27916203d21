"""A PostgreSQL restore up to the swap, but for the load: what stands there, the side and its settings."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from igny8_backup.databases.names import is_derived_name, is_staging_name
from igny8_backup.databases.postgresql.attributes import apply_settings
from igny8_backup.databases.postgresql.connection import Connection, sentence
from igny8_backup.databases.postgresql.introspection import database_row, list_settings, list_tables
from igny8_backup.databases.postgresql.sessions import ATTEMPTS, in_use, staying, terminate_sessions
from igny8_backup.databases.values import Target
from igny8_backup.errors import DatabaseError, RefusedError
from igny8_backup.formats.details import DatabaseDetails, DatabaseSetting

# The server goes on making a database whose maker was killed, and nobody sees it before it is made: who drops
# it must wait for that, or it would stay for good.
_WAIT_FOR_MAKER = "SELECT pg_advisory_lock(hashtextextended(%s, 0))"


def describe_target(live: Connection) -> Target:
    """What stands under the live name, seen from the maintenance database."""
    with live.maintenance() as session:
        row = database_row(session, live.name)
    if row is None:
        return Target(name=live.name, where=live.where, exists=False)
    tables = None
    try:
        with live.open() as session:
            tables = len(list_tables(session))
    except DatabaseError:
        pass  # a database that lets nobody in is a reason to restore, not one to stop
    return Target(name=live.name, where=live.where, exists=True, tables=tables, size=row["size"])


def create_staging(live: Connection, side: str, details: DatabaseDetails) -> None:
    """``CREATE DATABASE`` from ``template0`` as recorded; nobody but its owner and us may connect until the
    swap.

    Settings that this role may not give are refused now and not after hours of loading.
    """
    name = sql.Identifier(side)
    with live.maintenance() as session:
        session.execute(_WAIT_FOR_MAKER, [side])
        try:
            session.execute(
                sql.SQL("CREATE DATABASE {} WITH {}").format(name, _create_options(session, details))
            )
        except psycopg.errors.DuplicateDatabase:
            raise DatabaseError(
                f"There is a database {side} already: another restore to this server makes it, or two aliases"
                " lead to one database.",
                unchanged="Nothing live was changed.",
                hint="Run again; where two aliases lead to one database, give --only ALIAS.",
            ) from None
        except psycopg.Error as error:
            recorded = f"{details.encoding}, {details.provider}, {details.locale or details.collate}"
            raise DatabaseError(
                f"The side database cannot be made as recorded ({recorded}): {sentence(error)}.",
                unchanged="Nothing live was changed.",
                hint="Give the server or the role what it lacks (a locale comes with locale-gen), or make it"
                " with another locale: --locale C.UTF-8.",
            ) from None
        session.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(name))
        # The role that logs in need not be the one that it assumes, nor inherit from it.
        session.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO SESSION_USER").format(name))
        with session.transaction(force_rollback=True):
            apply_settings(session, side, _settings(session, live, details))


def _create_options(session: psycopg.Connection[Any], details: DatabaseDetails) -> sql.Composable:
    tablespaces = {row[0] for row in session.execute("SELECT spcname FROM pg_tablespace")}
    options: list[tuple[str, sql.Composable]] = [
        ("TEMPLATE", sql.Identifier("template0")),
        ("ENCODING", sql.Literal(details.encoding)),
        ("LC_COLLATE", sql.Literal(details.collate)),
        ("LC_CTYPE", sql.Literal(details.ctype)),
        ("OWNER", sql.Identifier(details.owner)),
    ]
    if session.info.server_version >= 150000:
        options.append(("LOCALE_PROVIDER", sql.Literal(details.provider)))
    if details.locale:
        word = "BUILTIN_LOCALE" if details.provider == "builtin" else "ICU_LOCALE"
        options.append((word, sql.Literal(details.locale)))
    if details.icu_rules:
        options.append(("ICU_RULES", sql.Literal(details.icu_rules)))
    # pg_default is what comes anyway, and naming it takes a right that most roles lack.
    if details.tablespace != "pg_default" and details.tablespace in tablespaces:
        options.append(("TABLESPACE", sql.Identifier(details.tablespace)))
    return sql.SQL(" ").join(sql.SQL("{} = {}").format(sql.SQL(word), value) for word, value in options)


def copy_settings(live: Connection, side: str, details: DatabaseDetails) -> None:
    """Gives ``side`` the settings of the live database and of roles in it, else the recorded ones."""
    with live.maintenance() as session:
        apply_settings(session, side, _settings(session, live, details))


def _settings(
    session: psycopg.Connection[Any], live: Connection, details: DatabaseDetails
) -> tuple[DatabaseSetting, ...]:
    exists = database_row(session, live.name) is not None
    return list_settings(session, live.name) if exists else details.settings


def stale_staging_databases(live: Connection) -> list[str]:
    """Databases that were being made to take the name of ``live``, and to which nobody is connected."""
    query = """
        SELECT datname FROM pg_database d
        WHERE NOT EXISTS (SELECT FROM pg_stat_activity WHERE datid = d.oid)"""
    with live.maintenance() as session:
        return sorted(name for (name,) in session.execute(query) if is_staging_name(name, live.name))


def drop_database(live: Connection, name: str) -> None:
    """Drops a database that a restore made or set aside. Raises :class:`RefusedError` for any other."""
    if not is_derived_name(name, live.name):
        raise RefusedError(
            f"{name!r} is not a database that a restore made beside {live.name!r}.",
            unchanged="It was not dropped.",
        )
    # Not WITH (FORCE): for a role that is no superuser it refuses while autovacuum works in the database; a
    # plain DROP ends autovacuum by itself, and we end the sessions.
    statement = sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name))
    with terminate_sessions(live, [name]), live.maintenance() as session:
        session.execute(_WAIT_FOR_MAKER, [name])
        for attempt in range(1, ATTEMPTS + 1):
            try:
                session.execute(statement)
                return
            except psycopg.errors.ObjectInUse as error:
                why = staying(session, [name])
                if why or attempt == ATTEMPTS:
                    raise in_use(name, why, error) from None
