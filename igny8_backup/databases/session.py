"""A session with a database server, and the errors it raises, whichever driver the project has.

``postgresql.driver`` opens sessions. :func:`from_driver` converts exceptions of psycopg 3 and psycopg2, also
those that Django has wrapped, without importing either.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

Parameters = Sequence[Any] | Mapping[str, Any] | None


class DriverError(Exception):
    """An error of the server or of the connection. The text is the message of the driver.

    ``name`` is the driver's name for the error (``UniqueViolation``). ``sqlstate`` is empty for errors of the
    connection and of the driver itself. The other fields are those of an error response (PostgreSQL docs,
    54.8), empty where the server sent none.
    """

    def __init__(self, error: BaseException, *, sqlstate: str = "") -> None:
        super().__init__(str(error))
        self.name = type(error).__name__
        self.sqlstate = sqlstate
        # Data that the driver cannot convert has no SQLSTATE either.
        self.is_operational = any(base.__name__ == "OperationalError" for base in type(error).__mro__)
        diagnostics = getattr(error, "diag", None)

        def field(name: str) -> str:
            return getattr(diagnostics, name, None) or ""

        self.primary = field("message_primary")
        self.detail = field("message_detail")
        self.position = field("statement_position")
        self.schema_name = field("schema_name")
        self.table_name = field("table_name")
        self.column_name = field("column_name")
        self.constraint_name = field("constraint_name")


class InsufficientPrivilege(DriverError):
    """SQLSTATE 42501."""


class ObjectInUse(DriverError):
    """SQLSTATE 55006: the database has sessions or prepared transactions."""


class DuplicateDatabase(DriverError):
    """SQLSTATE 42P04."""


class UnknownTable(DriverError):
    """A table was dropped or renamed, or its schema was."""


class InvalidName(DriverError):
    """The server cannot parse a name."""


class DeadlockDetected(DriverError):
    """SQLSTATE 40P01."""


# PostgreSQL documentation, appendix A.
_CLASSES: dict[str, type[DriverError]] = {
    "42501": InsufficientPrivilege,
    "55006": ObjectInUse,
    "42P04": DuplicateDatabase,
    "42P01": UnknownTable,
    "3F000": UnknownTable,  # invalid schema name
    "42809": UnknownTable,  # wrong object type: a view has the name now
    "42602": InvalidName,
    "42601": InvalidName,  # syntax error
    "0A000": InvalidName,  # cross-database reference
    "40P01": DeadlockDetected,
}


def from_driver(error: BaseException | None) -> DriverError | None:
    """Convert an exception of psycopg 3 or psycopg2; return ``None`` for any other exception."""
    bases = type(error).__mro__
    if error is None or not any(
        base.__name__ == "Error" and base.__module__.startswith("psycopg") for base in bases
    ):
        return None
    sqlstate = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or ""
    return _CLASSES.get(sqlstate, DriverError)(error, sqlstate=sqlstate)


@dataclass(frozen=True)
class Result:
    """What a statement returned. ``rowcount`` is the number of rows found or changed."""

    rows: Sequence[tuple[Any, ...]]
    rowcount: int

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.rows)

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the first row."""
        return self.rows[0] if self.rows else None

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return all rows."""
        return list(self.rows)


@dataclass(frozen=True)
class TextResult:
    """An answer whose values are the text that the server sent. ``columns`` are names and type oids."""

    columns: Sequence[tuple[str, int]]
    rows: Sequence[tuple[str | None, ...]]


class Session(ABC):
    """A session in autocommit mode. Its methods raise :class:`DriverError`."""

    dbname: str
    user: str
    host: str
    port: int
    backend_pid: int
    """The number of the server's process; behind a pooler, a number of the pooler."""
    server_version: int
    """As a number: 180001 for 18.1."""
    server_version_text: str
    """As the server writes it: ``18.1 (Debian 18.1-1.pgdg13+1)``."""

    @abstractmethod
    def execute(self, query: str, parameters: Parameters = None) -> Result:
        """Run SQL; ``%s`` and ``%(name)s`` stand for ``parameters``, if there are any.

        Without parameters ``query`` may have several statements; the result is then not defined.
        """

    @abstractmethod
    def declare_cursor(self, name: str, query: str) -> None:
        """Declare a cursor for one query, in the current transaction, which must be read-only.

        Raises :class:`DriverError` if ``query`` is more than one statement, or one that returns no rows.
        """

    @abstractmethod
    def fetch_text(self, name: str, count: int) -> TextResult:
        """Fetch rows from a cursor; bytes that are not text in the session's encoding are escaped."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether the session was closed or lost."""

    @property
    @abstractmethod
    def in_transaction(self) -> bool:
        """Whether a transaction has begun, failed ones included."""

    @abstractmethod
    def close(self) -> None:
        """End the session."""

    @contextmanager
    def transaction(self, *, rollback: bool = False) -> Iterator[None]:
        """Run the block in a transaction, or in a savepoint of the current one.

        It is committed at the end, unless the block raises or ``rollback`` is set.
        """
        begin, commit, undo = "BEGIN", "COMMIT", "ROLLBACK"
        if self.in_transaction:
            commit = "RELEASE SAVEPOINT igny8_backup"
            begin, undo = "SAVEPOINT igny8_backup", f"ROLLBACK TO SAVEPOINT igny8_backup; {commit}"
        self.execute(begin)
        try:
            yield
        except BaseException:
            if not self.closed:
                self.execute(undo)
            raise
        self.execute(undo if rollback else commit)
