"""Build the :class:`Connection` objects of an alias from Django's settings.

Backups use a connection of their own: ``DBBACKUP_CONNECTORS``, a setting of django-dbbackup, can name a
replica, the server behind a connection pooler, or another role.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from igny8_backup.conf import ConfigurationError
from igny8_backup.databases.names import NAME_BYTES
from igny8_backup.databases.postgresql.connection import Connection
from igny8_backup.databases.postgresql.driver import is_option

if TYPE_CHECKING:
    from dbbackup.db.base import BaseDBConnector

_REMOVED = ("DBBACKUP_STORAGE", "DBBACKUP_STORAGE_OPTIONS")
"""Settings of older releases of django-dbbackup. Release 5 and later cannot be imported if one is set."""


def live_connection(alias: str) -> Connection:
    """Return the connection that the application uses. Raises :class:`ConfigurationError`."""
    return _connection(alias, dict(connections[alias].settings_dict))


def source_connection(alias: str) -> Connection:
    """Return the connection for backups: that of the application, changed by ``DBBACKUP_CONNECTORS``.

    ``OPTIONS`` are merged key by key, so that changing one option does not remove another, such as
    ``sslmode``. Raises :class:`ConfigurationError`.
    """
    own = connections[alias].settings_dict
    override = _connector(alias).settings
    options = {**(own.get("OPTIONS") or {}), **(override.get("OPTIONS") or {})}
    return _connection(alias, {**own, **override, "OPTIONS": options})


def excluded_by_connector(alias: str) -> tuple[str, ...]:
    """Return the tables in ``EXCLUDE`` of ``DBBACKUP_CONNECTORS``, whose rows are left out of dumps."""
    return tuple(_connector(alias).exclude)


def _connector(alias: str) -> BaseDBConnector:
    # When django-dbbackup is imported, it reads settings and searches for a temporary folder, which may fail
    # with any exception. Imported here, it stops only backups and restores, not the application.
    try:
        from dbbackup.db.base import get_connector
    except Exception as error:
        old = [name for name in _REMOVED if hasattr(settings, name)]
        hint = f"Remove {' and '.join(old)} from the settings: STORAGES['dbbackup'] replaces it."
        if not old:
            hint = "Correct the settings that begin with DBBACKUP_, or name a writable folder in TMPDIR."
        raise ConfigurationError(
            f"django-dbbackup, which reads DBBACKUP_CONNECTORS, cannot be imported: {_described(error)}.",
            unchanged="Nothing was read or written.",
            hint=hint,
        ) from None
    try:
        return get_connector(alias)
    except Exception as error:
        raise ConfigurationError(
            f"django-dbbackup cannot read its settings for {alias!r}: {_described(error)}.",
            unchanged="Nothing was read or written.",
            hint="Correct DBBACKUP_CONNECTORS.",
        ) from None


def _described(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _connection(alias: str, settings_dict: dict[str, Any]) -> Connection:
    options: Mapping[str, Any] = dict(settings_dict.get("OPTIONS") or {})
    wrapper = type(connections[alias])({**settings_dict, "OPTIONS": options}, alias)
    try:
        params: Mapping[str, Any] = wrapper.get_connection_params()
    except ImproperlyConfigured as error:
        raise ConfigurationError(
            str(error), unchanged="Nothing was read or written.", hint=f"Correct DATABASES[{alias!r}]."
        ) from None
    connection = Connection(
        {key: value for key, value in params.items() if is_option(key)},
        role=str(options.get("assume_role") or ""),
        alias=alias,
    )
    if len(connection.params.get("dbname", "").encode()) > NAME_BYTES:
        raise ConfigurationError(
            f"DATABASES[{alias!r}]['NAME'] is longer than {NAME_BYTES} bytes; PostgreSQL would truncate it.",
            unchanged="Nothing was read or written.",
            hint="Set NAME to the name that the server lists (psql --list).",
        )
    return connection
