"""The part of a restore that runs in the side process: the project's migrations.

A migration reads rows, and what it raises may repeat them: ``Field 'age' expected a number but got '...'``.
Only the server's words are told, without values, and of errors whose words name things.
"""

from __future__ import annotations

import traceback

import psycopg
from django.core.management import CommandError, call_command
from django.db import Error
from django.db.migrations import Migration, exceptions

from igny8_backup.databases.redact import without_values
from igny8_backup.operations.staging.silence import suppress_output

# PostgreSQL docs, appendix A: data, functions, procedures, foreign data, and what PL/pgSQL raises. The
# message itself may quote a value.
_OF_VALUES = ("22", "2F", "38", "39", "HV", "P0")
# Of Django's own, before any migration runs: about the names of migrations.
_OF_NAMES = (
    CommandError,
    exceptions.AmbiguityError,
    exceptions.BadMigrationError,
    exceptions.CircularDependencyError,
    exceptions.InconsistentMigrationHistory,
    exceptions.NodeNotFoundError,
)


class MigrationError(Exception):
    """``migrate`` failed; the text is fit to be shown."""


def run(alias: str) -> None:
    """``migrate`` in the database ``alias``. Raises :class:`MigrationError`."""
    try:
        with suppress_output():
            call_command("migrate", database=alias, interactive=False, verbosity=0, skip_checks=True)
    except (Exception, SystemExit) as error:
        found = (frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__))
        migration = next((one for one in found if isinstance(one, Migration)), None)
        place = f"{migration}: " if migration else ""
        raise MigrationError(f"{place}{_told(error, inside=migration is not None)}") from None


def _told(error: BaseException, *, inside: bool) -> str:
    """What may be told of an error; ``inside``: a migration was running."""
    name, cause = type(error).__name__, error.__cause__
    if isinstance(error, Error) and isinstance(cause, psycopg.Error):
        return _told_of_the_server(cause)
    if isinstance(error, _OF_NAMES) and not inside:
        return f"{name}: {error}"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{name} in {frame.filename}, line {frame.lineno}; its words are not told: they may hold values"


def _told_of_the_server(error: psycopg.Error) -> str:
    name, state = type(error).__name__, error.sqlstate
    # Without a number it comes from the driver: no connection, or a value that it cannot convert.
    if isinstance(error, psycopg.OperationalError) if state is None else not state.startswith(_OF_VALUES):
        return f"{name}: {without_values(str(error))}"
    of = error.diag
    words = [name, f"SQLSTATE {state}", of.schema_name, of.table_name, of.column_name, of.constraint_name]
    return ", ".join(filter(None, words)) + "; its words are not told: they may hold values"
