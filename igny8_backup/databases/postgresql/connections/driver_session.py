"""What the sessions of psycopg 3 and of psycopg2 have in common: :class:`DriverSession`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from igny8_backup.databases.quoting import conninfo
from igny8_backup.databases.session import Parameters, Result, Session, from_driver

CANCEL_SECONDS = 5
"""Time limit in seconds for the server to cancel a statement after an interrupt."""
CANCEL_PAUSE = 0.5
"""Seconds after which a request to cancel is repeated."""


@contextmanager
def converted_errors() -> Iterator[None]:
    """Raise the errors of the driver as ``DriverError``."""
    try:
        yield
    except Exception as error:
        if converted := from_driver(error):
            raise converted from None
        raise


class DriverSession(Session):
    """The methods of a session that are the same for psycopg 3 and psycopg2, which both implement PEP 249."""

    _connection: Any

    def __init__(self, parameters: Mapping[str, object]) -> None:
        with converted_errors():
            self._connection = self._connect(conninfo(parameters))
        info = self._connection.info
        self.dbname, self.user = str(info.dbname), str(info.user)
        self.host, self.port = str(info.host or ""), int(info.port)
        self.backend_pid, self.server_version = info.backend_pid, info.server_version
        self.server_version_text = info.parameter_status("server_version") or ""

    @abstractmethod
    def _connect(self, dsn: str) -> Any:
        """Open the connection in autocommit mode."""

    @abstractmethod
    def _run(self, query: str, parameters: Parameters = None) -> Any:
        """Run SQL and return the cursor."""

    def execute(self, query: str, parameters: Parameters = None) -> Result:
        with converted_errors():
            cursor = self._run(query, parameters)
            return Result(cursor.fetchall() if cursor.description else [], cursor.rowcount)

    @property
    def closed(self) -> bool:
        return bool(self._connection.closed)

    @property
    def in_transaction(self) -> bool:
        return int(self._connection.info.transaction_status) != 0  # PQTRANS_IDLE

    def close(self) -> None:
        self._connection.close()
