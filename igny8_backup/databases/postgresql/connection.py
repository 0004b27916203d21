"""A way to one database of one server, and sessions on it.

The facts are what Django itself would hand to libpq, so that we reach the same server in the same way (unix
sockets, IPv6, TLS, service files).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import psycopg
from psycopg import conninfo, sql

from igny8_backup.databases.postgresql.hints import hint_for, unreachable
from igny8_backup.databases.redact import without_values
from igny8_backup.errors import DatabaseError

MAINTENANCE = ("postgres", "template1")

CONNECT_SECONDS = 10
"""How long a host may take to answer, unless the settings say otherwise; a session has no limit at all."""

KEEPALIVE_SECONDS = 60
"""After how long an idle session shows that it lives: one that holds a lock is idle for hours, and firewalls
between it and the server forget such."""

# Limits that roles and databases may have been given. An idle session holds the lock of a whole run.
_NO_LIMITS = """
    SELECT set_config(name, '0', false) FROM pg_settings
    WHERE name IN ('statement_timeout', 'lock_timeout', 'transaction_timeout',
                   'idle_in_transaction_session_timeout', 'idle_session_timeout')"""


# Classes of errors that may tell the values of rows (PostgreSQL docs, appendix A): functions, data, integrity
# constraints, procedures, views with a check, and what PL/pgSQL raises.
_OF_ROWS = ("21", "22", "23", "2F", "38", "39", "44", "P0")


class Connection:
    """How to reach one database. Its repr tells the place, never a password.

    ``params`` are libpq's (PostgreSQL docs, 34.1.2). ``role`` is assumed after login, ``alias`` is Django's
    name for it all.
    """

    def __init__(self, params: Mapping[str, Any], *, role: str = "", alias: str = "") -> None:
        self.params = {key: str(value) for key, value in params.items() if value is not None}
        self.role = role
        self.alias = alias

    @property
    def name(self) -> str:
        """The database's name; a service file may be what gives it."""
        return self.params.get("dbname") or self._named_by_libpq()

    @property
    def where(self) -> str:
        """``user@host:port/name`` for people."""
        host = self.params.get("host") or self.params.get("hostaddr") or "local socket"
        host = f"[{host}]" if ":" in host else host
        port = f":{self.params['port']}" if self.params.get("port") else ""
        service = f" (service {self.params['service']})" if self.params.get("service") else ""
        user, name = self.params.get("user") or "default user", self.params.get("dbname", "")
        return f"{user}@{host}{port}/{name}{service}"

    def __repr__(self) -> str:
        return f"<Connection {self.where}>"

    def to(self, name: str) -> Connection:
        """The same server and role, another database."""
        return Connection({**self.params, "dbname": name}, role=self.role, alias=self.alias)

    @contextmanager
    def open(self) -> Iterator[psycopg.Connection[Any]]:
        """A session in autocommit mode without time limits.

        Raises :class:`DatabaseError`, also for what psycopg raises inside the ``with``. In a session of a
        pooler nothing is set, neither limits nor ``role``: it would stay there for the next client.
        """
        params: dict[str, Any] = {
            "connect_timeout": CONNECT_SECONDS,
            "keepalives_idle": KEEPALIVE_SECONDS,
            **self.params,
            "application_name": "igny8_backup",
        }
        try:
            session = psycopg.connect(conninfo.make_conninfo(**params), autocommit=True)
        except psycopg.Error as error:
            said = sentence(error)
            name, user = _quoted(self.params.get("dbname", "")), _quoted(self.params.get("user", ""))
            raise DatabaseError(
                f"No connection to {self.where}: {said}.",
                hint=unreachable(said, alias=self.alias, name=name, user=user),
            ) from None
        # Not psycopg's own context manager: it would commit at the end, and fail where the server is gone.
        with closing(session):
            try:
                if not is_pooled(session):
                    session.execute(_NO_LIMITS)
                    if self.role:
                        session.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(self.role)))
                yield session
            except psycopg.Error as error:
                said = sentence(error)
                raise DatabaseError(
                    f"The server of {self.where} refused: {said}.", hint=hint_for(said, alias=self.alias)
                ) from None

    @contextmanager
    def maintenance(self) -> Iterator[psycopg.Connection[Any]]:
        """A session in another database of the same server, as renaming and dropping this one need it."""
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

    def _named_by_libpq(self) -> str:
        """Asks libpq how it reads the facts; nothing is sent, so that the database need not exist."""
        attempt = psycopg.pq.PGconn.connect_start(conninfo.make_conninfo(**self.params).encode())
        try:
            name = (attempt.db or b"").decode()
            said = attempt.error_message.decode(errors="replace")
        finally:
            attempt.finish()
        if not name:
            raise DatabaseError(
                f"DATABASES[{self.alias!r}] does not say which database is meant: {' '.join(said.split())}.",
                hint=f"Set DATABASES[{self.alias!r}]['NAME'], or correct the service file.",
            )
        return name


def is_pooled(session: psycopg.Connection[Any]) -> bool:
    """Whether a pooler stands before the server.

    It gives each client a number of its own to cancel by (PostgreSQL docs, 55.2.8), which is not that of the
    server's process. So does one that keeps a whole session for each client: from here the two look the same.
    """
    return session.execute("SELECT pg_backend_pid()").fetchone() != (session.info.backend_pid,)


def sentence(error: psycopg.Error) -> str:
    """The server's words on one line, without a full stop, and without the values of rows."""
    said = str(error)
    if (error.sqlstate or "").startswith(_OF_ROWS):
        said = without_values(said)
    return " ".join(said.split()).rstrip(".?")


def server_version(session: psycopg.Connection[Any]) -> str:
    """As the server writes it: ``18.1 (Debian 18.1-1.pgdg13+1)``."""
    return session.info.parameter_status("server_version") or ""


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string(None)
