"""A session with a database server, and its errors, independent of the database driver.

``postgresql.connections.driver`` opens sessions with psycopg 3 or psycopg2. :func:`from_driver` converts
exceptions of both drivers without importing them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

Parameters = Sequence[Any] | Mapping[str, Any] | None


class DriverError(Exception):
    """An error of the server, the connection or the driver. Its message is that of the driver.

    ``name`` is the driver's class of the error, such as ``UniqueViolation``. ``sqlstate`` is empty for errors
    that the server did not report. The other attributes are the fields of the server's error response
    (PostgreSQL docs, "Error and Notice Message Fields"), or empty.
    """

    def __init__(self, error: BaseException, *, sqlstate: str = "") -> None:
        super().__init__(str(error))
        self.name = type(error).__name__
        self.sqlstate = sqlstate
        # Neither a lost connection nor data that the driver cannot convert has an SQLSTATE; the class
        # differs.
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
    """The role lacks a privilege (SQLSTATE 42501)."""


class ObjectInUse(DriverError):
    """The database has sessions or prepared transactions (SQLSTATE 55006)."""


class DuplicateDatabase(DriverError):
    """A database with this name exists (SQLSTATE 42P04)."""


class UnknownTable(DriverError):
    """A table with this name, or its schema, does not exist (any more), or the name is that of a view."""


class InvalidName(DriverError):
    """A text that should be the name of an object is not a valid name in this database."""


class DeadlockDetected(DriverError):
    """The server ended a deadlock between transactions by aborting this one (SQLSTATE 40P01)."""


# The error for an SQLSTATE (PostgreSQL docs, appendix A).
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
    """Return the ``DriverError`` for an exception of psycopg 3 or psycopg2; ``None`` for any other."""
    bases = type(error).__mro__
    if error is None or not any(
        base.__name__ == "Error" and base.__module__.startswith("psycopg") for base in bases
    ):
        return None
    sqlstate = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or ""
    return _CLASSES.get(sqlstate, DriverError)(error, sqlstate=sqlstate)


@dataclass(frozen=True)
class Result:
    """The rows that a statement returned, and the number of rows that it returned or changed."""

    rows: Sequence[tuple[Any, ...]]
    rowcount: int

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.rows)

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the first row, or ``None`` if there is none."""
        return self.rows[0] if self.rows else None

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return all rows."""
        return list(self.rows)


@dataclass(frozen=True)
class TextResult:
    """A result with values as text, ``None`` for NULL. ``columns`` are pairs of name and type oid."""

    columns: Sequence[tuple[str, int]]
    rows: Sequence[tuple[str | None, ...]]


class Session(ABC):
    """A session with a server in autocommit mode. Its methods raise :class:`DriverError`."""

    dbname: str
    user: str
    host: str
    port: int
    backend_pid: int
    """The ID of the server's process for this session; a connection pooler sends another number."""
    server_version: int
    """The version as a number, such as 180001 for 18.1."""
    server_version_text: str
    """The version as the server reports it, such as ``18.1 (Debian 18.1-1.pgdg13+1)``."""

    @abstractmethod
    def execute(self, query: str, parameters: Parameters = None) -> Result:
        """Run SQL. ``%s`` and ``%(name)s`` in ``query`` are placeholders for ``parameters``.

        Without parameters, ``query`` may consist of several statements. The result is then undefined.
        """

    @abstractmethod
    def declare_cursor(self, name: str, query: str) -> None:
        """Declare the cursor ``name`` for ``query`` in the current transaction, which must be read-only.

        Raises :class:`DriverError` if ``query`` has several statements, or a statement that returns no rows.
        """

    @abstractmethod
    def fetch_text(self, name: str, count: int) -> TextResult:
        """Fetch up to ``count`` rows from the cursor ``name``, with bytes that are not valid text escaped."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether the session was closed or its connection was lost."""

    @property
    @abstractmethod
    def in_transaction(self) -> bool:
        """Whether the session is in a transaction; also true if a statement of the transaction failed."""

    @abstractmethod
    def close(self) -> None:
        """End the session."""

    @contextmanager
    def transaction(self, *, rollback: bool = False) -> Iterator[None]:
        """Run the ``with`` block in a transaction, or in a savepoint if the session is in a transaction.

        The transaction is committed at the end, or rolled back if the block raises or ``rollback`` is set.
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
