"""Sessions with psycopg2, which is imported when the first one is opened: :class:`Psycopg2Session`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from igny8_backup.databases.postgresql.connections.driver_session import (
    CANCEL_PAUSE,
    CANCEL_SECONDS,
    DriverSession,
    converted_errors,
)
from igny8_backup.databases.session import Parameters, TextResult

if TYPE_CHECKING:
    import psycopg2.extensions

_T = TypeVar("_T")


class Psycopg2Session(DriverSession):
    """A session with psycopg2."""

    _connection: psycopg2.extensions.connection

    def _connect(self, dsn: str) -> Any:
        import psycopg2

        connection = psycopg2.connect(dsn)
        connection.autocommit = True
        return connection

    def _run(self, query: str, parameters: Parameters = None) -> Any:
        cursor = self._connection.cursor()
        self._interruptible(lambda: cursor.execute(query, parameters))
        return cursor

    def _interruptible(self, work: Callable[[], _T]) -> _T:
        """Call ``work``, which runs one statement, so that Ctrl-C and SIGTERM cancel the statement.

        psycopg2 waits for the server in C code, which signals do not interrupt, and a statement may wait for
        a lock for hours. Python handles signals in the main thread only. So, if this is the main thread,
        ``work`` runs in another thread while this one waits for signals.
        """
        if threading.current_thread() is not threading.main_thread():
            return work()
        done: Future[_T] = Future()

        def run() -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)

        try:
            threading.Thread(target=run, name="igny8_backup-statement", daemon=True).start()
            return done.result()
        except BaseException:
            if not done.cancel():  # it runs, or has ended
                self._cancel(done)
            raise

    def _cancel(self, running: Future[_T]) -> None:
        """Cancel the statement of ``running``, repeatedly: a request before it begins has no effect."""
        deadline = time.monotonic() + CANCEL_SECONDS
        while not running.done() and time.monotonic() < deadline:
            self._connection.cancel()
            with suppress(TimeoutError):
                running.exception(CANCEL_PAUSE)

    def fetch_text(self, name: str, count: int) -> TextResult:
        import psycopg2.extensions

        with converted_errors():
            # psycopg2 chooses converters by the types of the columns when the statement runs, so find the
            # types first.
            found = self._run(f"FETCH 0 FROM {name}").description
            columns = [(column.name, column.type_code) for column in found]
            types = self._connection.string_types
            types.update({oid: psycopg2.extensions.BYTES for _, oid in columns})
            try:
                rows = self._run(f"FETCH {count} FROM {name}").fetchall()
            finally:
                types.clear()
        encoding = psycopg2.extensions.encodings[self._connection.encoding]

        def text(value: bytes | None) -> str | None:
            return None if value is None else value.decode(encoding, "backslashreplace")

        return TextResult(columns=columns, rows=[tuple(map(text, row)) for row in rows])

    def declare_cursor(self, name: str, query: str) -> None:
        # psycopg2 uses the simple query protocol, which accepts several statements. PL/pgSQL accepts only one
        # for a cursor.
        self.execute("SELECT set_config('igny8_backup.query', %s, true)", [query])
        self.execute(
            f"DO $$ DECLARE opened refcursor := '{name}'; BEGIN"
            " OPEN opened NO SCROLL FOR EXECUTE current_setting('igny8_backup.query'); END $$"
        )
