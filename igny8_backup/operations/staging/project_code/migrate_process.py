"""Run the project's migrations in the sandbox process, and report errors without values of rows.

A migration reads rows, and its exceptions may quote them: ``Field 'age' expected a number but got '...'``. So
only two kinds of messages are shown: those of the server, without values, and those that contain only names.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from django.core.management import CommandError, call_command
from django.db import Error, connections
from django.db.migrations import Migration, exceptions
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder

from igny8_backup.databases.redact import without_values
from igny8_backup.databases.session import DriverError, from_driver
from igny8_backup.errors import RefusedError
from igny8_backup.operations.sandbox.drivers import unguarded
from igny8_backup.operations.sandbox.failures import with_refused_connections
from igny8_backup.operations.sandbox.isolation import NotRestoredError
from igny8_backup.operations.sandbox.places import place_of, project_packages
from igny8_backup.operations.staging.project_code.signal_handlers import failing_handler

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


_HIDDEN = "its message is not shown, because it may contain values of rows"


class MigrationError(Exception):
    """``migrate`` failed. The message contains no values of rows."""


def require_staging(names: Mapping[str, str]) -> None:
    """Raise :class:`RefusedError` if an alias does not connect to its staging database.

    ``names`` maps each alias to the name of its staging database. An option, a custom backend or a pooler can
    redirect the connection to the live database.
    """
    for alias, name in names.items():
        if connections[alias].vendor != "postgresql":
            continue
        with unguarded(), connections[alias].cursor() as cursor:
            cursor.execute("SELECT current_database()")
            (found,) = cursor.fetchone()
        if found != name:
            what = f"DATABASES[{alias!r}] connects to the database {found}, although its NAME is {name}."
            hint = "Remove the name of a database from its OPTIONS, or from the pooler that it uses."
            raise RefusedError(what, unchanged="That database was not changed.", hint=hint)


def run(alias: str) -> None:
    """Run ``migrate`` in the database ``alias``. Raises :class:`MigrationError`."""
    with _described():
        call_command("migrate", database=alias, interactive=False, verbosity=0, skip_checks=True)


def rehearse(applied: Mapping[str, Sequence[tuple[str, str]]]) -> dict[str, list[str]]:
    """Return, for each alias, the migrations that ``migrate`` would run, such as ``billing.0002_total``.

    ``applied`` maps each alias to the migrations (app and name) that are treated as applied, whatever the
    database contains. Django makes this plan without a query. Raises :class:`MigrationError` if the plan
    fails, or if a handler of ``pre_migrate`` or ``post_migrate`` uses a database that is not restored.
    """
    found = {}
    for alias, recorded in applied.items():
        with _described(), _recorded_as({(app, name) for app, name in recorded}):
            executor = MigrationExecutor(connections[alias])
            executor.loader.check_consistent_history(connections[alias])
            plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
            found[alias] = [f"{migration.app_label}.{migration.name}" for migration, _ in plan]
            _plan_by_command(alias)
            apps = executor.loader.project_state().apps
            if failure := failing_handler(alias, apps, plan):
                raise MigrationError(failure)
    return found


def check(aliases: Sequence[str]) -> None:
    """Run a query and ``migrate --check`` in each of the live databases. Raises :class:`MigrationError`."""
    for alias in aliases:
        with _described():
            with connections[alias].cursor() as cursor:
                cursor.execute("SELECT 1")
            try:
                call_command("migrate", database=alias, check_unapplied=True, verbosity=0, skip_checks=True)
            except SystemExit:
                raise MigrationError(f"not all migrations are applied in the database {alias!r}") from None


def _plan_by_command(alias: str) -> None:
    """Run ``migrate --plan`` as a test: the project may have replaced ``migrate`` by a command of its own."""
    connection: Any = connections[alias]
    prepare = connection.prepare_database
    connection.prepare_database = lambda: None  # it may create an extension
    try:
        call_command("migrate", database=alias, plan=True, interactive=False, verbosity=0, skip_checks=True)
    except Error:
        pass  # the command asks the database, which may not exist before the restore
    finally:
        connection.prepare_database = prepare


@contextmanager
def _recorded_as(applied: set[tuple[str, str]]) -> Iterator[None]:
    """Make Django treat exactly the migrations ``applied`` as applied during the ``with`` block."""
    recorder: Any = MigrationRecorder
    asked, table = recorder.applied_migrations, recorder.has_table
    recorder.applied_migrations = lambda self: dict.fromkeys(applied)
    recorder.has_table = lambda self: True
    try:
        yield
    finally:
        recorder.applied_migrations, recorder.has_table = asked, table


@contextmanager
def _described() -> Iterator[None]:
    """Raise :class:`MigrationError` for any exception of the ``with`` block, without values of rows."""
    try:
        yield
    except MigrationError:
        raise
    except (Exception, SystemExit) as error:
        found = (frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__))
        migration = next((one for one in found if isinstance(one, Migration)), None)
        place = f"{migration}: " if migration else ""
        text = f"{place}{_without_values(error, in_migration=migration is not None)}"
        raise MigrationError(with_refused_connections(text)) from None


def _without_values(error: BaseException, *, in_migration: bool) -> str:
    """Describe an error without values of rows. ``in_migration``: it was raised by a migration."""
    name, cause = type(error).__name__, error.__cause__
    place = place_of(error, project_packages())
    if isinstance(error, NotRestoredError):
        return f"{error} ({place})"
    if isinstance(error, Error) and (of_driver := from_driver(cause)):
        return f"{_describe_server_error(of_driver)} ({place})"
    if isinstance(error, _ABOUT_NAMES) and not in_migration:
        return f"{name}: {error}"
    return f"{name} in {place}; {_HIDDEN}"


def _describe_server_error(error: DriverError) -> str:
    # Without SQLSTATE the error comes from the driver: a lost connection, or a value it cannot convert.
    if not error.sqlstate.startswith(_ABOUT_VALUES) if error.sqlstate else error.is_operational:
        return f"{error.name}: {without_values(str(error)).rstrip()}"
    names = [error.schema_name, error.table_name, error.column_name, error.constraint_name]
    listed = ", ".join(filter(None, [error.name, f"SQLSTATE {error.sqlstate or None}", *names]))
    return f"{listed}; {_HIDDEN}"
