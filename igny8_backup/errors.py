"""Every failure a user can meet, as one tree.

::

    BackupError                  1  never raised itself
    |-- UsageError               2  what was asked for does not exist or contradicts itself
    |-- RefusedError             4  a guard says no: SQLite, plaintext, versions, an unsafe target
    |   `-- ToolTooOldError      4  a PostgreSQL client that must not be used here
    |-- LockedError              5  another run holds the lock
    |-- IntegrityError           6  what is stored is not what was written
    |-- UnhealthyError           7  what monitors backups alarms
    |-- UnfinishedError          8  something was changed and is not finished: run again
    |-- IncompleteError          3  done, but not all of it (tasks raise it; commands list and exit)
    |-- ToolError                1  a program we ran failed
    |   `-- ToolMissingError     1  a program we need is not installed
    |-- DatabaseError            1  the server refused, is down, or lacks a right
    |-- StorageError             1  the storage refused, is down, or did something else than asked
    |-- FilesError               1  a folder or file of a tree cannot be used
    `-- IdentityError            1  the identity is missing, malformed or not the one encrypted to

``conf.ConfigurationError`` (2) completes the tree on the floor that knows Django. Signals are no errors of
this tree: they pass as ``KeyboardInterrupt``, which no handler of failures swallows (exit 130, 143).
The number is the exit status of the command that meets the error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class BackupError(Exception):
    """What happened, what was left untouched, and the way out; its text is all three.

    ``what`` is one sentence without secrets. ``unchanged`` says what is still as it was. ``hint`` is the
    command or setting that mends it. Only the joined text is kept in ``args``, so that the error
    survives a trip through a Celery result backend.
    """

    exit_status = 1

    def __init__(self, what: str, *, unchanged: str = "", hint: str = "") -> None:
        super().__init__(" ".join(part for part in (what, unchanged, hint) if part))
        self._parts = what, unchanged, hint

    @property
    def parts(self) -> tuple[str, str, str]:
        """What happened, what was left untouched, the fix; those that are not said are empty."""
        return self._parts

    def add_context(self, unchanged: str) -> None:
        """Say what is ``unchanged`` where the place that raised it could not know; what it says stays."""
        what, said, hint = self._parts
        if not said:
            self._parts = what, unchanged, hint
            self.args = (" ".join(part for part in self._parts if part),)


@contextmanager
def adding_context(unchanged: str) -> Iterator[None]:
    """Around what leaves this ``unchanged``: its errors say so, unless they tell it themselves."""
    try:
        yield
    except BackupError as error:
        error.add_context(unchanged)
        raise


class UsageError(BackupError):
    """What was asked for does not exist, or contradicts itself."""

    exit_status = 2


class RefusedError(BackupError):
    """A guard refused before anything was read or written."""

    exit_status = 4


class ToolTooOldError(RefusedError):
    """A client program is older than the server or the archive it would have to read."""


class LockedError(BackupError):
    """Another run holds the lock."""

    exit_status = 5


class IntegrityError(BackupError):
    """What is stored is not what was written."""

    exit_status = 6


class UnhealthyError(BackupError):
    """Backups are not as they should be: too old, too small, damaged, or nobody knows."""

    exit_status = 7


class UnfinishedError(BackupError):
    """Something was changed and is not finished; the journal knows how to go on."""

    exit_status = 8


class IncompleteError(BackupError):
    """Done, but not all of it."""

    exit_status = 3


class ToolError(BackupError):
    """A program failed: its name, exit status and the tail of its stderr, never its environment.

    ``exit_status_of_tool`` is as ``subprocess`` has it: negative for a signal, None where the program never
    ended by itself (it could not start, or was stopped by us).
    """

    def __init__(
        self,
        what: str,
        *,
        unchanged: str = "",
        hint: str = "",
        stderr_tail: str = "",
        exit_status_of_tool: int | None = None,
    ) -> None:
        super().__init__(what, unchanged=unchanged, hint=hint)
        self.stderr_tail = stderr_tail
        self.exit_status_of_tool = exit_status_of_tool


class ToolMissingError(ToolError):
    """A program is not installed."""


class DatabaseError(BackupError):
    """The database server refused, is down, or lacks a right."""


class StorageError(BackupError):
    """The storage refused, is down, or did something else than what was asked."""


class FilesError(BackupError):
    """A folder or file of a tree, of scratch or of the state folder cannot be used."""


class IdentityError(BackupError):
    """The age identity is missing, malformed, or not one that the data was encrypted to."""
