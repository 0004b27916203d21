"""Prevent the project in the sandbox process from reaching anything but the databases that it may use.

Redis, the brokers of task queues, mail and Sentry are replaced by stand-ins in memory that take everything
and pass nothing on. :func:`isolate_libraries` is called first, and :func:`isolate_settings` after Django has
read the settings and before it loads any app. Every other connection is refused: see ``network``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any, NoReturn

from django.core.exceptions import ImproperlyConfigured

from igny8_backup.operations.sandbox.drivers import refuse_other_databases
from igny8_backup.operations.sandbox.import_hooks import change_after_import
from igny8_backup.operations.sandbox.mail import discard_smtp, isolate_mail
from igny8_backup.operations.sandbox.network import permit_databases
from igny8_backup.operations.sandbox.redis import server as redis_server

_LOCAL = "django.core.cache.backends.locmem.LocMemCache"
_KEPT = ("django_redis", "redis", "redis_cache", "redis_lock", "django_valkey", "valkey")
_KEPT_DJANGO = tuple(f"django.core.cache.backends.{name}" for name in ("redis", "locmem", "dummy"))
_NO_SERVER = "/nonexistent"


class NotRestoredError(ImproperlyConfigured):
    """The project's code used a database that is not part of the restore."""


def isolate_libraries() -> None:
    """Replace the connections of Redis clients, task queues and SMTP by stand-ins.

    Each library is changed as soon as the project imports it.
    """
    change_after_import(
        {
            "redis.connection": _redirect,
            "valkey.connection": _redirect,
            "redis.asyncio.connection": _redirect_async,
            "valkey.asyncio.connection": _redirect_async,
            "redis.sentinel": _without_sentinels,
            "valkey.sentinel": _without_sentinels,
            "dramatiq.broker": _discarding_dramatiq,
            "dramatiq.brokers.rabbitmq": _discarding_dramatiq,
            "django.core.mail.backends.smtp": discard_smtp,
        }
    )


def isolate_settings(
    names: Mapping[str, str], usable: Iterable[str], servers: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Connect each alias in ``names`` to the database named there; leave the aliases in ``usable`` unchanged.

    ``servers`` has the fields of a ``ServerAccess`` for each alias that connects to another server, or with
    another role, than in DATABASES.

    A replica of an alias (``TEST["MIRROR"]``) is treated like that alias. Every other alias raises
    :class:`NotRestoredError` when it connects. ``IGNY8_BACKUP["SANDBOX"]["SETTINGS"]`` is applied last, but
    cannot change DATABASES.
    """
    from django.conf import settings

    for alias, access in (servers or {}).items():
        _move_database(settings.DATABASES[alias], access)
    _isolate_databases(settings.DATABASES, names, set(usable))
    isolate_mail(settings)
    for alias, cache in getattr(settings, "CACHES", {}).items():
        _isolate_cache(alias, cache)
    layers = getattr(settings, "CHANNEL_LAYERS", None) or {}
    for layer in layers.values():
        layer.clear()
        layer["BACKEND"] = "channels.layers.InMemoryChannelLayer"
    # Celery prefers the environment to settings, and the URLs for reading and writing to the general one.
    for name in ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL", "BROKER_URL"):
        os.environ[name] = "memory://"
        setattr(settings, name, "memory://")
    os.environ["CELERY_RESULT_BACKEND"] = settings.CELERY_RESULT_BACKEND = "cache+memory://"
    given = (getattr(settings, "IGNY8_BACKUP", None) or {}).get("SANDBOX") or {}
    for name, value in (given.get("SETTINGS") or {}).items():
        if name != "DATABASES":
            setattr(settings, name, value)


def silence_sentry() -> None:
    """Switch Sentry off, because its events would send values of rows out of this process."""
    sentry: Any = sys.modules.get("sentry_sdk")
    if sentry is not None:
        sentry.init(dsn="")


def _move_database(database: Any, access: Mapping[str, Any]) -> None:
    """Change an entry of DATABASES so that it connects with the role and to the server in ``access``.

    If ``access`` names no server, the server of the entry is kept.
    """
    options = dict(database.get("OPTIONS") or {})
    for key in ("passfile", "assume_role"):
        options.pop(key, None)
    if access["host"]:
        # All others are parameters of the connection to the server of DATABASES, such as sslmode.
        options = {key: options[key] for key in ("isolation_level", "server_side_binding") if key in options}
        database.update(HOST=access["host"], PORT=access["port"])
    database.update(
        USER=access["user"], PASSWORD=access["password"], OPTIONS={**options, **access["options"]}
    )


def _isolate_databases(databases: Any, names: Mapping[str, str], usable: set[str]) -> None:
    from django.db import connections

    refused = set()
    for alias, database in databases.items():
        if alias in names:
            database["NAME"] = names[alias]
            database["CONN_MAX_AGE"] = 0
            (database.get("TEST") or {}).pop("MIRROR", None)
    for alias, database in databases.items():
        mirrored = (database.get("TEST") or {}).get("MIRROR")
        if alias in names or mirrored in usable:
            continue
        if mirrored in names:
            database.update(databases[mirrored])
        elif alias not in usable and database.get("ENGINE"):
            refused.add(alias)
            # Also for code that reads the settings and connects by itself.
            database.update(NAME="not restored", HOST=_NO_SERVER, PORT="", USER="", PASSWORD="", OPTIONS={})
    permitted = [database for alias, database in databases.items() if alias not in refused]
    permit_databases(permitted)
    refuse_other_databases(str(database.get("NAME") or "") for database in permitted)
    create = connections.create_connection

    def create_connection(alias: str) -> Any:
        connection: Any = create(alias)
        if alias in refused:
            connection.connect = lambda: _refuse(alias)
        return connection

    # The project keeps its own backend for the alias: its features, and the way it writes SQL.
    handler: Any = connections
    handler.create_connection = create_connection
    for connection in connections.all(initialized_only=True):  # opened while the settings were read
        connection.close()
        del connections[connection.alias]


def _refuse(alias: str) -> NoReturn:
    raise NotRestoredError(
        f"the project's code used the database {alias!r}, which is not restored. Restore it too, or let the"
        " code skip it if the environment variable IGNY8_BACKUP_SANDBOX is set"
    )


def _isolate_cache(alias: str, cache: dict[str, Any]) -> None:
    """Replace the entry ``cache`` of CACHES by one in memory.

    Nothing is changed if the cache is harmless already, for example because its Redis client is redirected.
    """
    if _is_harmless(str(cache.get("BACKEND", ""))):
        return
    kept: dict[str, Any] = {
        name: cache[name] for name in ("KEY_PREFIX", "KEY_FUNCTION", "VERSION", "TIMEOUT") if name in cache
    }
    cache.clear()
    cache.update(kept, BACKEND=_LOCAL, LOCATION=f"igny8_backup {alias}")


def _is_harmless(backend: str) -> bool:
    from django.utils.module_loading import import_string

    try:
        bases = import_string(backend).__mro__
    except Exception:  # the project's own class may need apps, which are not loaded yet
        bases = ()
    modules = [backend, *(base.__module__ for base in bases)]
    return any(name.startswith(_KEPT_DJANGO) or name.partition(".")[0] in _KEPT for name in modules)


def _redirect(module: ModuleType) -> None:
    """Connect every client of redis-py (or its fork valkey-py) to the Redis in memory."""

    def connect(self: Any) -> Any:
        connected = redis_server.connect(_address(self))
        connected.settimeout(self.socket_timeout)
        return connected

    for connection in _connection_classes(module):
        connection._connect = connect


def _redirect_async(module: ModuleType) -> None:
    async def connect(self: Any) -> None:
        import asyncio

        connected = redis_server.connect(_address(self))
        connected.setblocking(False)
        self._reader, self._writer = await asyncio.open_connection(sock=connected)
        if hasattr(self, "path"):
            await self.on_connect()  # as this library does for Unix sockets

    for connection in _connection_classes(module):
        connection._connect = connect


def _connection_classes(module: ModuleType) -> list[Any]:
    base = module.AbstractConnection
    return [
        found
        for found in vars(module).values()
        if isinstance(found, type)
        and issubclass(found, base)
        and found is not base
        and "_connect" in vars(found)
    ]


def _address(connection: Any) -> str:
    return ":".join(str(getattr(connection, name, "")) for name in ("host", "port", "path"))


def _without_sentinels(module: ModuleType) -> None:
    """Make the client of Redis Sentinel answer without a server: a master for each service, no replicas."""
    module.Sentinel.discover_master = lambda self, service_name: (service_name, 6379)
    module.Sentinel.discover_slaves = lambda self, service_name: []


def _discarding_dramatiq(module: ModuleType) -> None:
    """Make the brokers of dramatiq discard messages instead of sending them to Redis or over AMQP."""
    for name in ("Broker", "RabbitmqBroker"):
        if broker := getattr(module, name, None):
            broker.enqueue = lambda self, message, *, delay=None: message
