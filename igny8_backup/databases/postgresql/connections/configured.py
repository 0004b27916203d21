"""Build the :class:`Connection` objects of an alias from Django's settings.

Backups use a connection of their own: ``DBBACKUP_CONNECTORS``, a setting of django-dbbackup, can name a
replica, the server behind a connection pooler, or another role.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from igny8_backup.common.outside import is_from_outside
from igny8_backup.conf import ConfigurationError
from igny8_backup.databases.names import NAME_BYTES
from igny8_backup.databases.postgresql.connections.connection import Connection
from igny8_backup.databases.postgresql.connections.driver import is_option
from igny8_backup.errors import DatabaseError

if TYPE_CHECKING:
    from dbbackup.db.base import BaseDBConnector

_REMOVED = ("DBBACKUP_STORAGE", "DBBACKUP_STORAGE_OPTIONS")
"""Old settings of django-dbbackup. If one of them is set, django-dbbackup 5 or later cannot be imported."""


def live_connection(alias: str) -> Connection:
    """Return the connection that the application uses. Raises :class:`ConfigurationError`."""
    own = connections[alias].settings_dict
    return _connection(alias, lambda: dict(own))


def source_connection(alias: str) -> Connection:
    """Return the connection for backups: that of the application, changed by ``DBBACKUP_CONNECTORS``.

    ``OPTIONS`` are merged key by key, so that changing one option does not remove another, such as
    ``sslmode``. Raises :class:`ConfigurationError`.
    """
    own = connections[alias].settings_dict
    # The connector has copied the other settings, among them a password that may change.
    copied = _connector(alias).settings
    override = {key: value for key, value in copied.items() if key not in own or own[key] != value}

    def merged() -> dict[str, Any]:
        options = {**(own.get("OPTIONS") or {}), **(override.get("OPTIONS") or {})}
        return {**own, **override, "OPTIONS": options}

    return _connection(alias, merged)


def excluded_by_connector(alias: str) -> tuple[str, ...]:
    """Return the tables in ``EXCLUDE`` of ``DBBACKUP_CONNECTORS``, whose rows are left out of dumps."""
    return tuple(_connector(alias).exclude)


def _connector(alias: str) -> BaseDBConnector:
    # When django-dbbackup is imported, it reads settings and searches for a temporary folder, which may fail
    # with any exception. Because it is imported here, such a failure stops backups and restores, not the
    # application.
    try:
        from dbbackup.db.base import get_connector
    except Exception as error:
        if is_from_outside(error):
            raise
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
        if is_from_outside(error):
            raise
        raise ConfigurationError(
            f"django-dbbackup cannot read its settings for {alias!r}: {_described(error)}.",
            unchanged="Nothing was read or written.",
            hint="Correct DBBACKUP_CONNECTORS.",
        ) from None


def _described(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _connection(alias: str, read_settings: Callable[[], dict[str, Any]]) -> Connection:
    # The backend may compute the password, for example a token that is valid for 15 minutes. So each new
    # session asks the backend again.
    backend = type(connections[alias])

    def read() -> Mapping[str, Any]:
        settings_dict = read_settings()
        options = dict(settings_dict.get("OPTIONS") or {})
        try:
            params = backend({**settings_dict, "OPTIONS": options}, alias).get_connection_params()
        except ImproperlyConfigured as error:
            raise ConfigurationError(
                str(error), unchanged="Nothing was read or written.", hint=f"Correct DATABASES[{alias!r}]."
            ) from None
        except Exception as error:  # of any service; its message may contain a secret
            if is_from_outside(error):
                raise
            raise DatabaseError(
                f"The database backend of {alias!r} gave no connection parameters: {type(error).__name__}.",
                hint=f"Correct DATABASES[{alias!r}], or repair the service from which its ENGINE gets the"
                " password.",
            ) from None
        return {key: value for key, value in params.items() if is_option(key)}

    given = read_settings()
    connection = Connection(
        read,
        role=str((given.get("OPTIONS") or {}).get("assume_role") or ""),
        alias=alias,
        password=str(given.get("PASSWORD") or ""),
    )
    if len(connection.params.get("dbname", "").encode()) > NAME_BYTES:
        raise ConfigurationError(
            f"DATABASES[{alias!r}]['NAME'] is longer than {NAME_BYTES} bytes; PostgreSQL would truncate it.",
            unchanged="Nothing was read or written.",
            hint="Set NAME to the name that the server lists (psql --list).",
        )
    return connection
