"""Build the engine of a database alias.

Only Django's settings select the engine: a forged backup in storage must not choose which code runs.
"""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from igny8_backup.conf import Config
from igny8_backup.databases.engine import Engine
from igny8_backup.databases.postgresql.connections.installed import uses_psycopg3
from igny8_backup.databases.postgresql.engine import PostgresqlEngine
from igny8_backup.databases.sqlite import SqliteEngine
from igny8_backup.errors import RefusedError, UsageError
from igny8_backup.streams.account import restore_account


def make_engine(alias: str, config: Config) -> Engine:
    """Build the engine that suits the ``ENGINE`` of ``alias`` in ``DATABASES``.

    Raises :class:`UsageError` if ``DATABASES`` lacks ``alias``. Raises :class:`RefusedError` if the database
    is neither PostgreSQL nor SQLite, if it is SQLite and DEBUG is off, or if its driver is not installed.
    """
    if alias not in connections.settings:
        raise UsageError(
            f"There is no database {alias!r}.",
            unchanged="Nothing was read or written.",
            hint=f"Choose one of: {', '.join(config.databases)}.",
        )
    guard_sqlite(alias, config)
    vendor = vendor_of(alias)
    if vendor == "postgresql":
        return PostgresqlEngine(
            alias,
            bin_dir=config.client_bin_dir,
            scratch=config.scratch_dir,
            run_as=restore_account(config.restore_user),
        )
    if vendor == "sqlite":
        return SqliteEngine(alias, scratch=config.scratch_dir)
    raise RefusedError(
        f"The database {alias!r} is {vendor}, which is not supported.",
        unchanged="Nothing was read or written.",
        hint="List the PostgreSQL aliases in IGNY8_BACKUP['DATABASES'].",
    )


def vendor_of(alias: str) -> str:
    """Return the vendor of the Django backend of ``alias``, such as ``postgresql`` or ``sqlite``.

    Raises :class:`RefusedError` if the backend cannot be imported, usually because its driver is not
    installed.
    """
    try:
        return connections[alias].vendor
    except (ImproperlyConfigured, ImportError) as error:
        if "postg" in connections.settings[alias]["ENGINE"]:
            uses_psycopg3()
        raise RefusedError(
            f"The backend of the database {alias!r} cannot be imported: {' '.join(str(error).split())}.",
            unchanged="Nothing was read or written.",
            hint=f"Install its driver, or correct DATABASES[{alias!r}]['ENGINE'].",
        ) from None


def is_sqlite(alias: str) -> bool:
    """Return whether ``alias`` is SQLite; false if its backend cannot be imported."""
    try:
        return vendor_of(alias) == "sqlite"
    except RefusedError:
        return False


def guard_sqlite(alias: str, config: Config) -> None:
    """Raise :class:`RefusedError` if ``alias`` is SQLite and ``DEBUG`` is off.

    Production data is not in SQLite, so the process must have been started with the wrong settings.
    """
    if not config.debug and is_sqlite(alias):
        raise RefusedError(
            f"The database {alias!r} is SQLite and DEBUG is off. Production data does not live in SQLite, so"
            " this process uses the wrong settings.",
            unchanged="Nothing was read or written.",
            hint="Set DATABASE_URL (or DB_NAME and DB_HOST) for this process.",
        )
