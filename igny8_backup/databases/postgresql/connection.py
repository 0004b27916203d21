"""Connect to a PostgreSQL database as Django does.

:class:`Connection` contains the parameters that Django would pass to libpq, so that unix sockets, IPv6, TLS
and service files work as they do for the application. Its methods ``open`` and ``maintenance`` open sessions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from igny8_backup.databases.postgresql.driver import connect, default_name
from igny8_backup.databases.postgresql.hints import connection_hint, hint_for
from igny8_backup.databases.quoting import identifier
from igny8_backup.databases.redact import without_values
from igny8_backup.databases.session import DriverError, Session
from igny8_backup.errors import DatabaseError

MAINTENANCE = ("postgres", "template1")
"""Databases to connect to while another database is renamed or dropped; the first that answers is used."""

CONNECT_SECONDS = 10
"""Time limit for connecting if Django's settings have none. An open session has no time limit."""

KEEPALIVE_SECONDS = 60
"""After this many idle seconds a session sends a keepalive.

The session that holds a lock is idle for hours, and firewalls drop idle connections.
"""

# Roles and databases may have time limits, but the session that holds a lock is idle for hours.
_NO_LIMITS = """
    SELECT set_config(name, '0', false) FROM pg_settings
    WHERE name IN ('statement_timeout', 'lock_timeout', 'transaction_timeout',
                   'idle_in_transaction_session_timeout', 'idle_session_timeout')"""


# The classes of SQLSTATE whose messages may contain values of rows (PostgreSQL docs, appendix A): functions,
# data, integrity constraints, procedures, views WITH CHECK OPTION, and errors that PL/pgSQL raises.
_CLASSES_WITH_VALUES = ("21", "22", "23", "2F", "38", "39", "44", "P0")


class Connection:
    """The parameters of connections to one database. The ``repr`` shows the address without the password.

    ``params`` are libpq's parameters (PostgreSQL docs, 34.1.2). ``role`` is the role to assume after login
    (SET ROLE), or empty. ``alias`` is the alias in ``DATABASES``.
    """

    def __init__(self, params: Mapping[str, Any], *, role: str = "", alias: str = "") -> None:
        self.params = {key: str(value) for key, value in params.items() if value is not None}
        self.role = role
        self.alias = alias

    @property
    def name(self) -> str:
        """The name of the database, which may come from a service file."""
        return self.params.get("dbname") or self._name_from_libpq()

    @property
    def where(self) -> str:
        """The address for messages: ``user@host:port/name``."""
        host = self.params.get("host") or self.params.get("hostaddr") or "local socket"
        host = f"[{host}]" if ":" in host else host
        port = f":{self.params['port']}" if self.params.get("port") else ""
        service = f" (service {self.params['service']})" if self.params.get("service") else ""
        user, name = self.params.get("user") or "default user", self.params.get("dbname", "")
        return f"{user}@{host}{port}/{name}{service}"

    def __repr__(self) -> str:
        return f"<Connection {self.where}>"

    def to(self, name: str) -> Connection:
        """Return a connection to another database of the same server."""
        return Connection({**self.params, "dbname": name}, role=self.role, alias=self.alias)

    @contextmanager
    def open(self) -> Iterator[Session]:
        """Open a session in autocommit mode, whose statements have no time limits.

        Raises :class:`DatabaseError` if the connection fails, or if the ``with`` block raises
        ``DriverError``. Through a pooler, time limits and the role are not changed: the pooler's session
        would keep the changes for the next client.
        """
        params: dict[str, Any] = {
            "connect_timeout": CONNECT_SECONDS,
            "keepalives_idle": KEEPALIVE_SECONDS,
            **self.params,
            "application_name": "igny8_backup",
        }
        try:
            session = connect(params)
        except DriverError as error:
            message = sentence(error)
            name, user = identifier(self.params.get("dbname", "")), identifier(self.params.get("user", ""))
            raise DatabaseError(
                f"No connection to {self.where}: {message}.",
                hint=connection_hint(message, alias=self.alias, name=name, user=user),
            ) from None
        with closing(session):
            try:
                if not is_pooled(session):
                    session.execute(_NO_LIMITS)
                    if self.role:
                        session.execute(f"SET ROLE {identifier(self.role)}")
                yield session
            except DriverError as error:
                message = sentence(error)
                raise DatabaseError(
                    f"The server of {self.where} reported an error: {message}.",
                    hint=hint_for(message, alias=self.alias)
                    or "Remove the cause that the server reports, then run again.",
                ) from None

    @contextmanager
    def maintenance(self) -> Iterator[Session]:
        """Open a session in a maintenance database of the same server.

        A database can be renamed or dropped only from another one.
        """
        with ExitStack() as stack:
            refusals = []
            for name in MAINTENANCE:
                if name == self.name:
                    continue
                try:
                    session = stack.enter_context(self.to(name).open())
                except DatabaseError as error:
                    refusals.append(error)
                else:
                    break
            else:
                raise refusals[0]
            yield session

    def _name_from_libpq(self) -> str:
        """Return the database name that libpq finds, perhaps in a service file, without connecting."""
        try:
            return default_name(self.params)
        except DriverError as error:
            raise DatabaseError(
                f"DATABASES[{self.alias!r}] does not name a database: {sentence(error)}.",
                unchanged="Nothing was read or written.",
                hint=f"Set DATABASES[{self.alias!r}]['NAME'], or correct the service file.",
            ) from None


def is_pooled(session: Session) -> bool:
    """Return whether the session goes through a connection pooler, in session or transaction mode.

    A pooler sends each client its own process number for cancel requests (PostgreSQL docs, "Canceling
    Requests in Progress"). That number differs from the number of the server's process.
    """
    return session.execute("SELECT pg_backend_pid()").fetchone() != (session.backend_pid,)


def is_replica(session: Session) -> bool:
    """Return whether the server is a replica (PostgreSQL docs, ``pg_is_in_recovery``)."""
    return session.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)


def sentence(error: DriverError) -> str:
    """Return the server's message on one line, without a full stop and without values of rows."""
    message = str(error)
    if error.sqlstate.startswith(_CLASSES_WITH_VALUES):
        message = without_values(message)
    return " ".join(message.split()).rstrip(".?")
