"""Django's database settings -> a :class:`Connection`, through django-dbbackup where backups are taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from dbbackup.db.base import BaseDBConnector, get_connector
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from igny8_backup.conf import ConfigurationError
from igny8_backup.databases.names import NAME_BYTES
from igny8_backup.databases.postgresql.connection import Connection

_LIBPQ = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}


def live_connection(alias: str) -> Connection:
    """The application's own connection."""
    return _connection(alias, dict(connections[alias].settings_dict))


def source_connection(alias: str) -> Connection:
    """Where backups are taken: the application's connection as changed by ``DBBACKUP_CONNECTORS``, which may
    name a replica, the server behind a pooler, or a role of its own.

    ``OPTIONS`` are merged key by key: a partial override keeps ``sslmode``.
    """
    own = connections[alias].settings_dict
    override = _connector(alias).settings
    options = {**(own.get("OPTIONS") or {}), **(override.get("OPTIONS") or {})}
    return _connection(alias, {**own, **override, "OPTIONS": options})


def excluded_by_connector(alias: str) -> tuple[str, ...]:
    """The tables that django-dbbackup's connector (``EXCLUDE``) leaves without rows."""
    return tuple(_connector(alias).exclude)


def _connector(alias: str) -> BaseDBConnector:
    try:
        return get_connector(alias)
    except (RuntimeError, ImportError, AttributeError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"django-dbbackup cannot read its settings for {alias!r}: {error}.",
            unchanged="Nothing was read or written.",
            hint="Correct DBBACKUP_CONNECTORS.",
        ) from None


def _connection(alias: str, settings_dict: dict[str, Any]) -> Connection:
    options: Mapping[str, Any] = dict(settings_dict.get("OPTIONS") or {})
    wrapper = type(connections[alias])({**settings_dict, "OPTIONS": options}, alias)
    try:
        params: Mapping[str, Any] = wrapper.get_connection_params()
    except ImproperlyConfigured as error:
        raise ConfigurationError(str(error), unchanged="Nothing was read or written.") from None
    connection = Connection(
        {key: value for key, value in params.items() if key in _LIBPQ},
        role=str(options.get("assume_role") or ""),
        alias=alias,
    )
    if len(connection.params.get("dbname", "").encode()) > NAME_BYTES:
        raise ConfigurationError(
            f"DATABASES[{alias!r}]['NAME'] is longer than {NAME_BYTES} bytes, which PostgreSQL cuts.",
            unchanged="Nothing was read or written.",
            hint="Write the name as the server has it.",
        )
    return connection
