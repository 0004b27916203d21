"""The swap of two databases: both renames, privileges, connection limit and comments in one transaction.

``ALTER DATABASE ... RENAME`` needs the database without sessions, and its own lock keeps newcomers out: they
wait at the door and then find no such database (PostgreSQL docs, ALTER DATABASE). So a second connection ends
sessions until the transaction is through.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg import sql

from igny8_backup.databases.postgresql.attributes import apply_comment, apply_limit, apply_privileges
from igny8_backup.databases.postgresql.connection import Connection
from igny8_backup.databases.postgresql.introspection import database_row, list_privileges
from igny8_backup.databases.postgresql.sessions import ATTEMPTS, in_use, staying, terminate_sessions
from igny8_backup.errors import DatabaseError, UnfinishedError
from igny8_backup.formats.details import DatabaseDetails

Work = Callable[[psycopg.Connection[Any]], None]


def swap_databases(live: Connection, side: str, before: str, details: DatabaseDetails) -> None:
    """``side`` takes the live name and the live database becomes ``before``: both, or neither.

    What lies on the live database (else what ``details`` record) goes with the name. Raises
    :class:`DatabaseError` when nothing was changed, :class:`UnfinishedError` when nobody can tell.
    """
    existed = False

    def work(session: psycopg.Connection[Any]) -> None:
        nonlocal existed
        row = database_row(session, live.name)
        existed = row is not None
        if row:
            privileges, limit, comment = (
                list_privileges(session, live.name),
                row["datconnlimit"],
                row["comment"],
            )
            _rename(session, live.name, before)
            apply_comment(
                session, before, f"igny8_backup: what {live.name} was before a restore; undo_restore"
            )
        else:
            privileges, limit, comment = details.privileges, details.connection_limit, details.comment
        _rename(session, side, live.name)
        apply_privileges(session, live.name, privileges)
        apply_limit(session, live.name, limit)
        apply_comment(session, live.name, comment)

    def is_done(names: set[str]) -> bool:
        return side not in names and live.name in names and (before in names or not existed)

    _at_one_instant(live, [live.name, side], work, is_done)


def name_database(live: Connection, side: str, details: DatabaseDetails) -> None:
    """``side`` takes the live name, which nobody has, and what ``details`` record of it.

    Raises :class:`DatabaseError` where somebody has taken the name meanwhile, and else as
    :func:`swap_databases` does; the sessions of that database are left alone.
    """

    def work(session: psycopg.Connection[Any]) -> None:
        _rename(session, side, live.name)
        apply_privileges(session, live.name, details.privileges)
        apply_limit(session, live.name, details.connection_limit)
        apply_comment(session, live.name, details.comment)

    _at_one_instant(live, [side], work, lambda names: side not in names and live.name in names)


def swap_back_databases(live: Connection, before: str, aside: str) -> None:
    """The live database becomes ``aside`` and ``before`` takes the live name: both, or neither.

    Where there is no ``before`` (the restore created the database) the live name is free afterwards. Raises
    as :func:`swap_databases` does.
    """

    def work(session: psycopg.Connection[Any]) -> None:
        row = database_row(session, live.name)
        if row:
            _rename(session, live.name, aside)
            apply_comment(session, aside, f"igny8_backup: what {live.name} was before undo_restore")
        if database_row(session, before):
            _rename(session, before, live.name)
            apply_comment(session, live.name, row["comment"] if row else None)

    _at_one_instant(live, [live.name, before], work, lambda names: aside in names)


def _at_one_instant(
    live: Connection, names: Sequence[str], work: Work, is_done: Callable[[set[str]], bool]
) -> None:
    """Does ``work`` in one transaction while nobody is in the databases; ``is_done`` is told which databases
    there are, where the server did not say whether it was committed."""
    try:
        with terminate_sessions(live, names), live.maintenance() as session:
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    with session.transaction():
                        work(session)
                    return
                except psycopg.errors.ObjectInUse as error:
                    why = staying(session, names)
                    if why or attempt == ATTEMPTS:
                        raise in_use(live.name, why, error) from None
    except DatabaseError as error:
        if not _look(live, error, is_done):
            raise


def _look(live: Connection, error: DatabaseError, is_done: Callable[[set[str]], bool]) -> bool:
    """Whether the work is done although ``error`` came: an answer to COMMIT can be lost on its way."""
    try:
        with live.maintenance() as session:
            return is_done({name for (name,) in session.execute("SELECT datname FROM pg_database")})
    except DatabaseError:
        raise UnfinishedError(
            f"The server fell silent while databases were swapped: {error}",
            unchanged="Each is the old one or the whole new one.",
            hint="When the server answers, run the same command again: it goes on from there.",
        ) from None


def _rename(session: psycopg.Connection[Any], name: str, to: str) -> None:
    session.execute(
        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(name), sql.Identifier(to))
    )
