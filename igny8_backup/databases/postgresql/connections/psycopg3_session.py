"""Sessions with psycopg 3, which is imported when the first one is opened: :class:`Psycopg3Session`."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from igny8_backup.databases.postgresql.connections.driver_session import (
    CANCEL_PAUSE,
    CANCEL_SECONDS,
    DriverSession,
    converted_errors,
)
from igny8_backup.databases.session import Parameters, TextResult

if TYPE_CHECKING:
    import psycopg

_ACTIVE = 1
"""PQTRANS_ACTIVE: the connection runs a statement (PostgreSQL docs, 32.2, PQtransactionStatus)."""


class Psycopg3Session(DriverSession):
    """A session with psycopg 3."""

    _connection: psycopg.Connection[Any]

    def _connect(self, dsn: str) -> Any:
        import psycopg

        return psycopg.connect(dsn, autocommit=True)

    def _run(self, query: str, parameters: Parameters = None) -> Any:
        with self._cancelled_when_interrupted():
            return self._connection.execute(query.encode(), parameters)

    @contextmanager
    def _cancelled_when_interrupted(self) -> Iterator[None]:
        """Cancel the statement in the block if Ctrl-C or SIGTERM leaves it running.

        psycopg cancels it if the signal arrives while it waits for the server, but not if the signal arrives
        in its own code just before.
        """
        try:
            yield
        except BaseException:
            if self._connection.info.transaction_status == _ACTIVE:
                self._cancel()
            raise

    def _cancel(self) -> None:
        """Cancel the statement, repeatedly: a request before it begins has no effect.

        If the server does not cancel it in time, the connection is closed.
        """
        import psycopg

        deadline = time.monotonic() + CANCEL_SECONDS
        with suppress(psycopg.Error):  # a lost connection; the next statement reports it
            while time.monotonic() < deadline:
                self._connection.cancel()
                if self._has_ended(CANCEL_PAUSE):
                    return
        self._connection.close()

    def _has_ended(self, seconds: float) -> bool:
        """Discard the results of the statement; return whether it ended within about ``seconds``."""
        connection, poll = self._connection.pgconn, select.poll()
        poll.register(connection.socket, select.POLLIN)
        while True:
            while not connection.is_busy():
                if connection.get_result() is None:
                    return True
            if not poll.poll(seconds * 1000):
                return False
            connection.consume_input()

    def fetch_text(self, name: str, count: int) -> TextResult:
        with converted_errors():
            result = self._run(f"FETCH {count} FROM {name}").pgresult
        encoding = self._connection.info.encoding

        def text(row: int, column: int) -> str | None:
            value = result.get_value(row, column)
            return None if value is None else value.decode(encoding, "backslashreplace")

        fields = range(result.nfields)
        return TextResult(
            columns=[
                ((result.fname(field) or b"").decode(errors="replace"), result.ftype(field))
                for field in fields
            ],
            rows=[tuple(text(row, field) for field in fields) for row in range(result.ntuples)],
        )

    def declare_cursor(self, name: str, query: str) -> None:
        # ``binary`` chooses the extended query protocol, which accepts one statement only (PostgreSQL docs,
        # 54.2.3).
        with converted_errors():
            statement = f"DECLARE {name} NO SCROLL CURSOR FOR {query}"
            with self._cancelled_when_interrupted():
                self._connection.execute(statement.encode(), binary=True)
