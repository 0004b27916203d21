"""Swap databases: change names, privileges, connection limits and comments in one transaction.

``ALTER DATABASE ... RENAME`` needs a database without sessions, and prevents new sessions until the
transaction ends (PostgreSQL docs, ALTER DATABASE). So a second connection terminates the sessions at the same
time. At every moment the live name leads either to the old database or to the complete new one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from igny8_backup.databases.postgresql.attributes import (
    apply_comment,
    apply_limit,
    apply_privileges,
    apply_template,
)
from igny8_backup.databases.postgresql.connections.connection import Connection
from igny8_backup.databases.postgresql.connections.sessions import run_without_sessions
from igny8_backup.databases.postgresql.introspection import database_row, list_privileges
from igny8_backup.databases.quoting import identifier
from igny8_backup.databases.session import Session
from igny8_backup.errors import DatabaseError, UnfinishedError
from igny8_backup.formats.details import DatabaseDetails

Work = Callable[[Session], None]
_NAMES = "SELECT datname::text FROM pg_database"


def swap_databases(live: Connection, staging: str, previous: str, details: DatabaseDetails) -> None:
    """Rename the live database to ``previous`` and ``staging`` to the live name, in one transaction.

    The new live database gets the privileges, connection limit, template flag and comment of the old one;
    without an old one, those in ``details``. Raises :class:`DatabaseError` if nothing was changed,
    :class:`UnfinishedError` if it is unknown whether the server committed.
    """
    existed = False

    def work(session: Session) -> None:
        nonlocal existed
        row = database_row(session, live.name)
        existed = row is not None
        if row:
            privileges = list_privileges(session, live.name)
            limit, comment, is_template = row["datconnlimit"], row["comment"], row["datistemplate"]
            _rename(session, live.name, previous)
            _set_template(session, previous, is_template, False)
            note = f"igny8_backup: what {live.name} was before a restore; undo_restore"
            apply_comment(session, previous, note)
        else:
            privileges, limit, comment = details.privileges, details.connection_limit, details.comment
            is_template = details.is_template
        _rename(session, staging, live.name)
        apply_privileges(session, live.name, privileges)
        apply_limit(session, live.name, limit)
        _set_template(session, live.name, False, is_template)
        apply_comment(session, live.name, comment)

    def is_done(names: set[str]) -> bool:
        return staging not in names and live.name in names and (previous in names or not existed)

    _in_one_transaction(live, [live.name, staging], work, is_done)


def name_database(live: Connection, staging: str, details: DatabaseDetails) -> None:
    """Rename ``staging`` to the live name and apply privileges, connection limit and comment of ``details``.

    Raises the same errors as :func:`swap_databases`, and :class:`DatabaseError` if a database with the live
    name exists. The sessions of that database are not terminated.
    """

    def work(session: Session) -> None:
        _rename(session, staging, live.name)
        apply_privileges(session, live.name, details.privileges)
        apply_limit(session, live.name, details.connection_limit)
        apply_comment(session, live.name, details.comment)

    _in_one_transaction(live, [staging], work, lambda names: staging not in names and live.name in names)


def swap_back_databases(live: Connection, previous: str, replaced: str) -> None:
    """Rename the live database to ``replaced`` and ``previous`` to the live name, in one transaction.

    ``previous`` is empty if there was no live database before the restore. Then no database has the live name
    afterwards. Does nothing if the databases were swapped back already. Raises the same errors as
    :func:`swap_databases`.
    """

    def work(session: Session) -> None:
        if is_done({name for (name,) in session.execute(_NAMES)}):
            return
        row = database_row(session, live.name)
        if row:
            _rename(session, live.name, replaced)
            _set_template(session, replaced, row["datistemplate"], False)
            apply_comment(session, replaced, f"igny8_backup: what {live.name} was before undo_restore")
        if previous:
            _rename(session, previous, live.name)
            apply_comment(session, live.name, row["comment"] if row else None)
            _set_template(session, live.name, False, bool(row and row["datistemplate"]))

    def is_done(names: set[str]) -> bool:
        return previous not in names if previous else live.name not in names

    _in_one_transaction(live, [live.name, *filter(None, [previous])], work, is_done)


def _in_one_transaction(
    live: Connection, names: Sequence[str], work: Work, is_done: Callable[[set[str]], bool]
) -> None:
    """Run ``work`` in one transaction while the sessions of the databases ``names`` are terminated.

    If the connection is lost, ``is_done`` receives the names of all databases and returns whether the server
    committed.
    """

    def in_transaction(session: Session) -> None:
        with session.transaction():
            work(session)

    try:
        run_without_sessions(live, names, in_transaction)
    except DatabaseError as error:
        if not _committed(live, error, is_done):
            raise


def _committed(live: Connection, error: DatabaseError, is_done: Callable[[set[str]], bool]) -> bool:
    """Return whether the server committed although ``error`` was raised.

    The connection may have been lost after COMMIT was sent, so the names of the databases are read again.
    ``is_done`` receives them and decides. Raises :class:`UnfinishedError` if they cannot be read.
    """
    try:
        with live.maintenance() as session:
            return is_done({name for (name,) in session.execute(_NAMES)})
    except DatabaseError:
        raise UnfinishedError(
            f"The connection to the server was lost while databases were swapped: {error}",
            unchanged="Either both databases were renamed or neither.",
            hint="When the server answers, run the same command again: it finishes the swap.",
        ) from None


def _set_template(session: Session, name: str, before: bool, after: bool) -> None:
    """Change the template flag of a database from ``before`` to ``after``, if they differ.

    The replaced database loses the flag, because a template cannot be dropped.
    """
    if before != after:
        apply_template(session, name, after)


def _rename(session: Session, name: str, to: str) -> None:
    session.execute(f"ALTER DATABASE {identifier(name)} RENAME TO {identifier(to)}")
