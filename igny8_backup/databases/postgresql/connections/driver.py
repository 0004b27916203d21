"""Open sessions with the driver that Django uses: psycopg 3 or psycopg2. Only this module imports a driver.

If both are installed, Django uses psycopg 3, and so does this module. :func:`connect` opens a session;
:func:`is_option` and :func:`libpq_values` call libpq without a server.
"""

from __future__ import annotations

import select
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from igny8_backup.databases.postgresql.connections.installed import uses_psycopg3
from igny8_backup.databases.quoting import conninfo
from igny8_backup.databases.session import Parameters, Result, Session, TextResult, from_driver

if TYPE_CHECKING:
    import psycopg
    import psycopg2.extensions

CANCEL_SECONDS = 5
"""Time limit in seconds for the server to cancel a statement after an interrupt."""
CANCEL_PAUSE = 0.5
"""Seconds after which a request to cancel is repeated."""
_ACTIVE = 1
"""PQTRANS_ACTIVE: the connection runs a statement (PostgreSQL docs, 32.2, PQtransactionStatus)."""

_T = TypeVar("_T")


def connect(parameters: Mapping[str, object]) -> Session:
    """Open a session with these connection parameters of libpq. Raises ``DriverError``."""
    return _Psycopg3Session(parameters) if uses_psycopg3() else _Psycopg2Session(parameters)


def is_option(key: str) -> bool:
    """Return whether ``key`` is a parameter of libpq. Other keys in ``OPTIONS`` are for the driver."""
    dsn = conninfo({key: "x"})
    try:
        if uses_psycopg3():
            from psycopg.conninfo import conninfo_to_dict

            conninfo_to_dict(dsn)
        else:
            from psycopg2.extensions import parse_dsn

            parse_dsn(dsn)
    except Exception as error:
        if from_driver(error):
            return False
        raise
    return True


def libpq_values(parameters: Mapping[str, object]) -> tuple[str, str]:
    """Return the parameters ``dbname`` and ``options`` with which libpq would connect.

    They may come from a service file or an environment variable. The database need not exist, because nothing
    is sent to its server. Raises ``DriverError``.
    """
    # libpq resolves the parameters when a connection begins. With this address it needs no name resolution.
    parameters = {**parameters, "host": "localhost", "hostaddr": "127.0.0.1", "port": "1"}
    with _converted_errors():
        if not uses_psycopg3():
            import psycopg2

            with closing(psycopg2.connect(conninfo(parameters), async_=1)) as begun:
                return str(begun.info.dbname), str(begun.info.options or "")

        from psycopg import OperationalError, pq

        attempt = pq.PGconn.connect_start(conninfo(parameters).encode())
        try:
            if attempt.db:
                return attempt.db.decode(), attempt.options.decode()
            raise OperationalError(attempt.error_message.decode(errors="replace"))
        finally:
            attempt.finish()


@contextmanager
def _converted_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if converted := from_driver(error):
            raise converted from None
        raise


class _DriverSession(Session):
    """The methods of a session that are the same for psycopg 3 and psycopg2, which both implement PEP 249."""

    _connection: psycopg.Connection[Any] | psycopg2.extensions.connection

    def __init__(self, parameters: Mapping[str, object]) -> None:
        with _converted_errors():
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
        with _converted_errors():
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


class _Psycopg3Session(_DriverSession):
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
        """Cancel the statement, repeatedly: a request before it begins has no effect."""
        import psycopg

        deadline = time.monotonic() + CANCEL_SECONDS
        with suppress(psycopg.Error):  # a lost connection; the next statement reports it
            while time.monotonic() < deadline:
                self._connection.cancel()
                if self._has_ended(CANCEL_PAUSE):
                    return

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
        with _converted_errors():
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
        with _converted_errors():
            statement = f"DECLARE {name} NO SCROLL CURSOR FOR {query}"
            with self._cancelled_when_interrupted():
                self._connection.execute(statement.encode(), binary=True)


class _Psycopg2Session(_DriverSession):
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

        with _converted_errors():
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
