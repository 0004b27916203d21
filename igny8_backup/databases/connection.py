"""Django's database settings -> connection facts for psycopg and for PostgreSQL's client programs.

The facts are what Django itself would hand to libpq, so that the programs reach the same server in the same
way (unix sockets, IPv6, TLS, service files). Programs get them in ``PG*`` variables (PostgreSQL docs, 34.15)
and the password in a private passfile (34.16): never in argv.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import psycopg.sql
from dbbackup.db.base import get_connector
from django.db import connections
from psycopg import conninfo

from igny8_backup.conf import ConfigurationError
from igny8_backup.errors import DatabaseError, FilesError

_LIBPQ = {option.keyword.decode(): option.envvar for option in psycopg.pq.Conninfo.get_defaults()}
# pg_dump must choose the encoding of the database itself; the names of programs are ours to give.
_NOT_PASSED = {"client_encoding", "application_name", "fallback_application_name"}
_MAINTENANCE = ("postgres", "template1")


class Connection:
    """How to reach one database of one server. Its repr tells the place, never a password."""

    def __init__(self, params: Mapping[str, Any], *, role: str = "", alias: str = "") -> None:
        self._params = dict(params)
        self.role = role
        self.alias = alias

    @property
    def name(self) -> str:
        return str(self._params.get("dbname") or "")

    @property
    def user(self) -> str:
        return str(self._params.get("user") or "")

    def __repr__(self) -> str:
        return f"<Connection {self.where}>"

    @property
    def where(self) -> str:
        """``user@host:port/name`` for people."""
        host = self._params.get("host") or "local socket"
        port = f":{self._params['port']}" if self._params.get("port") else ""
        service = f" (service {self._params['service']})" if self._params.get("service") else ""
        return f"{self.user or 'default user'}@{host}{port}/{self.name}{service}"

    def to(self, name: str) -> Connection:
        """The same server and role, another database."""
        return Connection({**self._params, "dbname": name}, role=self.role, alias=self.alias)

    @contextmanager
    def open(self) -> Iterator[psycopg.Connection[Any]]:
        """A session in autocommit mode with no time limits of its own. Raises :class:`DatabaseError`."""
        params = {"connect_timeout": 10, **self._params, "application_name": "igny8_backup"}
        try:
            session = psycopg.connect(**params, autocommit=True)
        except psycopg.OperationalError as error:
            raise DatabaseError(
                f"No connection to {self.where}: {_sentence(error)}.",
                fix=f"Start the server, or correct DATABASES[{self.alias!r}]; "
                f"try it with: python manage.py dbshell --database {self.alias}.",
            ) from None
        with session:
            try:
                session.execute("SET statement_timeout = 0")
                session.execute("SET lock_timeout = 0")
                if self.role:
                    session.execute(psycopg.sql.SQL("SET ROLE {}").format(psycopg.sql.Identifier(self.role)))
                yield session
            except psycopg.Error as error:
                raise DatabaseError(f"The server of {self.where} refused: {_sentence(error)}.") from None

    @contextmanager
    def maintenance(self) -> Iterator[psycopg.Connection[Any]]:
        """A session in the maintenance database of the same server."""
        with ExitStack() as stack:
            refusals = []
            for name in _MAINTENANCE:
                try:
                    session = stack.enter_context(self.to(name).open())
                except DatabaseError as error:
                    refusals.append(error)
                else:
                    break
            else:
                raise refusals[0]
            yield session

    @contextmanager
    def environment(self, scratch: Path) -> Iterator[tuple[dict[str, str], list[str]]]:
        """The environment and the arguments that bring a client program to this database.

        The passfile lives in ``scratch`` (0600) while the context lasts.
        """
        env = {key: value for key, value in os.environ.items() if key != "PGPASSWORD"}
        env["PGAPPNAME"] = "igny8_backup"
        explicit: dict[str, Any] = {}
        for key, value in self._params.items():
            variable = _LIBPQ.get(key)
            if key in _NOT_PASSED or key == "password" or value is None:
                continue
            if "service" in self._params and key in ("dbname", "host", "port", "user"):
                # A service file wins over variables; only the command line wins over it.
                explicit[key] = value
            elif variable:
                env[variable.decode()] = str(value)
        arguments = [f"--dbname={conninfo.make_conninfo(**explicit)}"] if explicit else []
        arguments += [f"--role={self.role}"] if self.role else []
        password = self._params.get("password")
        if not password:
            yield env, [*arguments, "--no-password"]
            return
        with private_file(scratch, b"*:*:*:*:" + _passfile_escape(str(password)).encode() + b"\n") as path:
            env["PGPASSFILE"] = str(path)
            yield env, [*arguments, "--no-password"]


def connection_settings(alias: str, *, merged: bool) -> Connection:
    """The connection of ``alias``: with ``merged``, through django-dbbackup's ``DBBACKUP_CONNECTORS``, which
    may send backups to a replica or past a pooler; without, the application's own.

    ``OPTIONS`` are merged key by key: a partial override keeps ``sslmode``.
    """
    wrapper = connections[alias]
    settings_dict: dict[str, Any] = dict(wrapper.settings_dict)
    if merged:
        try:
            override = dict(get_connector(alias).settings)
        except (RuntimeError, ImportError, AttributeError, TypeError) as error:
            raise ConfigurationError(
                f"django-dbbackup cannot read its settings for {alias!r}: {error}.",
                untouched="Nothing was read or written.",
                fix="Correct DBBACKUP_CONNECTORS.",
            ) from None
        options = {**(settings_dict.get("OPTIONS") or {}), **(override.get("OPTIONS") or {})}
        settings_dict = {**settings_dict, **override, "OPTIONS": options}
    role = str((settings_dict.get("OPTIONS") or {}).get("assume_role") or "")
    params: Mapping[str, Any] = type(wrapper)(settings_dict, alias).get_connection_params()
    return Connection({key: value for key, value in params.items() if key in _LIBPQ}, role=role, alias=alias)


@contextmanager
def private_file(folder: Path, content: bytes) -> Iterator[Path]:
    """A file of mode 0600 with ``content`` in ``folder``, removed at the end."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix="igny8_backup-", dir=folder)
    except OSError as error:
        raise FilesError(
            f"No private file can be made in {folder}: {error.strerror}.",
            fix="Point IGNY8_BACKUP['SCRATCH_DIR'] at a folder that may be written.",
        ) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        yield Path(name)
    finally:
        os.unlink(name)


def _passfile_escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace(":", "\\:")


def _sentence(error: psycopg.Error) -> str:
    """The server's words on one line, without a full stop."""
    return " ".join(str(error).split()).rstrip(".")
