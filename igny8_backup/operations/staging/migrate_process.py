"""Run the project's migrations in the sandbox process, and report errors without values of rows.

A migration reads rows, and its exceptions may quote them: ``Field 'age' expected a number but got '...'``. So
only two kinds of messages are shown: those of the server, without values, and those that contain only names.
"""

from __future__ import annotations

import traceback

from django.core.management import CommandError, call_command
from django.db import Error
from django.db.migrations import Migration, exceptions

from igny8_backup.databases.redact import without_values
from igny8_backup.databases.session import DriverError, from_driver
from igny8_backup.operations.staging.suppress_output import suppress_output

# PostgreSQL documentation, appendix A: errors about data, functions, procedures and foreign data, and those
# raised in PL/pgSQL. Their messages may quote values.
_ABOUT_VALUES = ("22", "2F", "38", "39", "HV", "P0")
# Django's errors about the names of migrations, raised before any migration runs.
_ABOUT_NAMES = (
    CommandError,
    exceptions.AmbiguityError,
    exceptions.BadMigrationError,
    exceptions.CircularDependencyError,
    exceptions.InconsistentMigrationHistory,
    exceptions.NodeNotFoundError,
)


class MigrationError(Exception):
    """``migrate`` failed. The message contains no values of rows."""


def run(alias: str) -> None:
    """Run ``migrate`` in the database ``alias``. Raises :class:`MigrationError`."""
    try:
        with suppress_output():
            call_command("migrate", database=alias, interactive=False, verbosity=0, skip_checks=True)
    except (Exception, SystemExit) as error:
        found = (frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__))
        migration = next((one for one in found if isinstance(one, Migration)), None)
        place = f"{migration}: " if migration else ""
        raise MigrationError(f"{place}{_without_values(error, in_migration=migration is not None)}") from None


def _without_values(error: BaseException, *, in_migration: bool) -> str:
    """Describe an error without values of rows. ``in_migration``: it was raised by a migration."""
    name, cause = type(error).__name__, error.__cause__
    if isinstance(error, Error) and (of_driver := from_driver(cause)):
        return _describe_server_error(of_driver)
    if isinstance(error, _ABOUT_NAMES) and not in_migration:
        return f"{name}: {error}"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{name} in {frame.filename}, line {frame.lineno}; its message is hidden: it may contain values"


def _describe_server_error(error: DriverError) -> str:
    # Without SQLSTATE the error comes from the driver: a lost connection, or a value it cannot convert.
    if not error.sqlstate.startswith(_ABOUT_VALUES) if error.sqlstate else error.is_operational:
        return f"{error.name}: {without_values(str(error))}"
    names = [error.schema_name, error.table_name, error.column_name, error.constraint_name]
    listed = ", ".join(filter(None, [error.name, f"SQLSTATE {error.sqlstate or None}", *names]))
    return f"{listed}; its message is hidden: it may contain values"
