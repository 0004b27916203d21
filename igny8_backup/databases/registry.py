"""Build the engine of a database alias.

The alias in Django's settings selects the engine. Metadata read from storage never selects code.
"""

from __future__ import annotations

from django.db import connections

from igny8_backup.conf import Config
from igny8_backup.databases.engine import Engine
from igny8_backup.databases.postgresql.engine import PostgresqlEngine
from igny8_backup.databases.sqlite import SqliteEngine
from igny8_backup.errors import RefusedError, UsageError


def make_engine(alias: str, config: Config) -> Engine:
    """Build the engine that suits the ``ENGINE`` of ``alias`` in ``DATABASES``.

    Raises :class:`UsageError` if ``DATABASES`` lacks ``alias``, :class:`RefusedError` for SQLite without
    DEBUG, and for databases other than PostgreSQL and SQLite.
    """
    if alias not in connections.settings:
        raise UsageError(
            f"There is no database {alias!r}.",
            unchanged="Nothing was read or written.",
            hint=f"Choose one of: {', '.join(config.databases)}.",
        )
    guard_sqlite(alias, config)
    vendor = connections[alias].vendor
    if vendor == "postgresql":
        return PostgresqlEngine(alias, bin_dir=config.client_bin_dir, scratch=config.scratch_dir)
    if vendor == "sqlite":
        return SqliteEngine(alias, scratch=config.scratch_dir)
    raise RefusedError(
        f"The database {alias!r} is {vendor}, which is not supported.",
        unchanged="Nothing was read or written.",
        hint="List the PostgreSQL aliases in IGNY8_BACKUP['DATABASES'].",
    )


def guard_sqlite(alias: str, config: Config) -> None:
    """Raise :class:`RefusedError` if ``alias`` is SQLite and ``DEBUG`` is off.

    Production data is not in SQLite, so the process must have been started with the wrong settings.
    """
    if not config.debug and connections[alias].vendor == "sqlite":
        raise RefusedError(
            f"The database {alias!r} is SQLite and DEBUG is off. Production data does not live in SQLite, so"
            " this process uses the wrong settings.",
            unchanged="Nothing was read or written.",
            hint="Set DATABASE_URL (or DB_NAME and DB_HOST) for this process.",
        )
