"""Refuse PostgreSQL connections of the sandbox process to databases that it must not use.

The project's code can connect without DATABASES: a migration that takes the address from an environment
variable would reach the live database. The drivers connect in C, where the audit hook of ``network`` does not
see the connection, and ``landlock`` permits the port of the server. So the functions with which psycopg 3 and
psycopg2 connect are changed: they check the name of the database first.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

from igny8_backup.operations.sandbox.import_hooks import change_after_import
from igny8_backup.operations.sandbox.landlock import POSTGRESQL_PORT
from igny8_backup.operations.sandbox.network import is_allowed, refuse

_state = {"guarding": True}


def refuse_other_databases(names: Iterable[str]) -> None:
    """Refuse connections of psycopg and psycopg2 to other databases than ``names``.

    An empty name permits connections that name no database (libpq reads it from a service file, for example).
    Servers in the setting ALLOW are permitted, whatever the database.
    """
    permitted = frozenset(names)
    change_after_import(
        {
            "psycopg.generators": lambda module: _guard_psycopg(module, permitted),
            "psycopg2": lambda module: _guard_psycopg2(module, permitted),
        }
    )


@contextmanager
def unguarded() -> Iterator[None]:
    """Permit every database within the ``with`` block.

    Use this only to find out which database a connection with the project's settings reaches.
    """
    _state["guarding"] = False
    try:
        yield
    finally:
        _state["guarding"] = True


def _guard_psycopg(module: ModuleType, permitted: frozenset[str]) -> None:
    connect = module.connect

    def guarded(conninfo: str, *args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        _check(import_module("psycopg.conninfo").conninfo_to_dict(conninfo), permitted)
        return (yield from connect(conninfo, *args, **kwargs))

    module.connect = guarded  # type: ignore[attr-defined]  # any module


def _guard_psycopg2(module: ModuleType, permitted: frozenset[str]) -> None:
    connect = module._connect

    def guarded(dsn: str, *args: Any, **kwargs: Any) -> Any:
        _check(import_module("psycopg2.extensions").parse_dsn(dsn), permitted)
        return connect(dsn, *args, **kwargs)

    module._connect = guarded  # type: ignore[attr-defined]  # any module


def _check(parameters: Any, permitted: frozenset[str]) -> None:
    if not _state["guarding"] or str(parameters.get("dbname") or "") in permitted:
        return
    host = str(parameters.get("host") or parameters.get("hostaddr") or "localhost").split(",")[0]
    port = str(parameters.get("port") or POSTGRESQL_PORT).split(",")[0]
    address = (host, int(port) if port.isdigit() else POSTGRESQL_PORT)
    if not is_allowed(address):
        refuse(address)
