"""Connect to a PostgreSQL database as Django does.

:class:`Connection` contains the parameters that Django would pass to libpq, so that unix sockets, IPv6, TLS
and service files work as they do for the application. Its methods ``open`` and ``maintenance`` open sessions.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import Any

from igny8_backup.databases.postgresql.connections.driver import connect, libpq_values
from igny8_backup.databases.postgresql.connections.refusal import is_of_server, sqlstate_of_refusal
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

# Roles and databases may have time limits, but the session that holds a lock is idle for hours. They may also
# be read-only by default, which restores must change for their own sessions.
_NO_LIMITS = """
    SELECT set_config(name, CASE name WHEN 'default_transaction_read_only' THEN 'off' ELSE '0' END, false)
    FROM pg_settings
    WHERE name IN ('default_transaction_read_only', 'statement_timeout', 'lock_timeout',
                   'transaction_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout')"""


# The classes of SQLSTATE whose messages may contain values of rows (PostgreSQL docs, appendix A): functions,
# data, integrity constraints, procedures, views WITH CHECK OPTION, and errors that PL/pgSQL raises.
_CLASSES_WITH_VALUES = ("21", "22", "23", "2F", "38", "39", "44", "P0")


Parameters = Mapping[str, Any]


class Connection:
    """The parameters of connections to one database. The ``repr`` shows the address without the password.

    ``params`` are libpq's parameters (PostgreSQL docs, 34.1.2), or a function that returns them. Their
    password may be a token that expires during the run. So the function is called again, through
    :meth:`current`, for each new session and each client program. ``role`` is the role to assume after login
    (SET ROLE), or empty. ``alias`` is the alias in ``DATABASES``. ``password`` is the password in the
    settings; :attr:`changing` compares it with the one in ``params``.
    """

    def __init__(
        self,
        params: Parameters | Callable[[], Parameters],
        *,
        role: str = "",
        alias: str = "",
        password: str | None = None,
    ) -> None:
        self._read = params if callable(params) else partial(dict[str, Any], params)
        self._changes: dict[str, str] = {}
        self._passwords = set() if password is None else {password}
        self.role = role
        self.alias = alias
        self.params = self.current()
        """The parameters at the time when this object was made.

        Use them only to name the server: their password may have expired.
        """

    def current(self) -> dict[str, str]:
        """Read the parameters again and return them, with the password that is valid now."""
        params = {key: str(value) for key, value in self._read().items() if value is not None}
        self._passwords.add(params.get("password", ""))
        return {**params, **self._changes}

    @property
    def changing(self) -> bool:
        """Whether the password has differed between two reads, or from the one in the settings.

        Such a password is probably a token, and the next one may differ again.
        """
        return len(self._passwords) > 1

    @property
    def name(self) -> str:
        """The name of the database, which may come from a service file."""
        return self.params.get("dbname") or self._from_libpq()[0]

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
        other = copy.copy(self)
        other._changes = {"dbname": name}
        other.params = {**self.params, "dbname": name}
        return other

    def leads_to_same(self, other: Connection) -> bool:
        """Return whether both connections have the same parameters, whatever their passwords are."""
        ours, theirs = ({**item.params, "password": ""} for item in (self, other))
        return ours == theirs

    def without_role(self) -> Connection:
        """Return a connection that assumes no role after login."""
        other = copy.copy(self)
        other.role = ""
        return other

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
            **self.current(),
            "application_name": "igny8_backup",
        }
        try:
            session = connect(params)
        except DriverError as error:
            message = sentence(error)
            name, user = identifier(self.params.get("dbname", "")), identifier(self.params.get("user", ""))
            code = ""
            if is_of_server(str(error)) and not hint_for(message, alias=self.alias):
                code = sqlstate_of_refusal(params)
            raise DatabaseError(
                f"No connection to {self.where}: {message}.",
                hint=connection_hint(message, alias=self.alias, name=name, user=user, sqlstate=code),
            ) from None
        with closing(session), _counted(session):
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
                    hint=hint_for(message, alias=self.alias, sqlstate=error.sqlstate)
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

    @property
    def options(self) -> str:
        """The parameter ``options`` of libpq (PostgreSQL docs, 34.1.2).

        It may come from a service file or an environment variable.
        """
        return self._from_libpq()[1]

    def _from_libpq(self) -> tuple[str, str]:
        """Return the database name and the options that libpq finds, without connecting."""
        try:
            return libpq_values(self.params)
        except DriverError as error:
            raise DatabaseError(
                f"DATABASES[{self.alias!r}] does not name a database: {sentence(error)}.",
                unchanged="Nothing was read or written.",
                hint=f"Set DATABASES[{self.alias!r}]['NAME'], or correct the service file.",
            ) from None


_open: set[tuple[str, int, int]] = set()


@contextmanager
def _counted(session: Session) -> Iterator[None]:
    own = (session.host, session.port, session.backend_pid)
    _open.add(own)
    try:
        yield
    finally:
        _open.discard(own)


def own_backends(session: Session) -> list[int]:
    """Return the backend process IDs of all sessions of this program on the server of ``session``."""
    return [pid for host, port, pid in tuple(_open) if (host, port) == (session.host, session.port)]


def is_pooled(session: Session) -> bool:
    """Return whether the session goes through a connection pooler, in session or transaction mode.

    A server sends each client the ID of its server process, for cancel requests (PostgreSQL docs, "Canceling
    Requests in Progress"). A pooler sends a number of its own instead, so the two numbers differ.
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
