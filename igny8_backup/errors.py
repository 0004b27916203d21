"""The errors that a user can meet, with the exit status of a command that fails with each of them.

::

    BackupError                  1  base class, never raised itself
    |-- UsageError               2  the request names something that does not exist, or contradicts itself
    |-- ConfigurationError       2  a setting is wrong (defined in igny8_backup.conf, which needs Django)
    |-- IncompleteError          3  the work was done, except for the parts that are listed
    |-- RefusedError             4  a safety rule forbids it (SQLite, no encryption, versions, unsafe target)
    |   `-- ToolTooOldError      4  a PostgreSQL client is older than the server or the archive
    |-- LockedError              5  another run holds the lock
    |-- YieldedError             5  a session waited for a lock of the run, and the run ended to let it pass
    |-- IntegrityError           6  stored data differs from what was written
    |-- UnhealthyError           7  the monitor found backups too old, too small or damaged
    |-- UnfinishedError          8  a restore or undo was begun and not finished
    |-- StoppedError             1  a time limit of a task ended the work before it was done
    |-- ToolError                1  a child process failed
    |   `-- ToolMissingError     1  a program is not installed
    |-- DatabaseError            1  the server is down, refused a statement, or the role lacks a privilege
    |-- StorageError             1  the storage is down, refused a request, or returned something unexpected
    |-- FilesError               1  a folder or file on this machine cannot be read or written
    `-- IdentityError            1  the age identity is missing, malformed, or does not open the data

Signals are not part of the tree. They arrive as ``KeyboardInterrupt``, which no handler of failures catches
(exit status 130 or 143).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class BackupError(Exception):
    """An error with a message in three parts: what happened, what was not changed, what to do.

    ``what`` is one sentence without secrets. ``unchanged`` names what was not changed. ``hint`` names the
    command or setting that solves the problem. The defaults of the class replace missing parts.
    """

    exit_status = 1
    default_unchanged = ""
    default_hint = ""
    object_key = ""
    """The key of the stored object that could not be read, if the error is about one object."""

    def __init__(self, what: str, unchanged: str = "", hint: str = "") -> None:
        # pickle and Celery's result backends build a copy from ``args``, so these are the arguments as given.
        super().__init__(what, unchanged, hint)

    def __str__(self) -> str:
        text = ""
        for part in filter(None, self.parts):
            text += f" {part}" if text and not text.endswith("\n") else part  # a list ends with a newline
        return text

    def __repr__(self) -> str:
        # Celery logs this, so it looks like the ``repr`` of an error whose only argument is the message.
        return f"{type(self).__name__}({str(self)!r})"

    @property
    def what(self) -> str:
        """What happened: the first part of the message, for lists with one line for each problem."""
        return self.parts[0]

    @property
    def parts(self) -> tuple[str, str, str]:
        """What happened, what was not changed, and what to do; a missing part is empty."""
        what, unchanged, hint = self.args
        return what, unchanged or self.default_unchanged, hint or self.default_hint

    def add_context(self, unchanged: str) -> None:
        """Set the sentence that says what was not changed, unless the error has one already.

        A function that raises an error often does not know what its callers have changed.
        """
        what, given, hint = self.args
        self.args = what, given or unchanged, hint

    def replace_context(self, unchanged: str) -> None:
        """Replace the sentence that says what was not changed.

        A caller uses this if it can no longer confirm the sentence that the error had.
        """
        what, _, hint = self.args
        self.args = what, unchanged, hint


@contextmanager
def adding_context(unchanged: str) -> Iterator[None]:
    """Add the sentence ``unchanged`` to every ``BackupError`` that leaves the block and has none yet."""
    try:
        yield
    except BackupError as error:
        error.add_context(unchanged)
        raise


class UsageError(BackupError):
    """The request names something that does not exist, or contradicts itself."""

    exit_status = 2
    default_unchanged = "Nothing was changed."


class IncompleteError(BackupError):
    """The work was done, except for the parts that the message lists.

    Celery tasks raise this error, because they have no exit status. Commands end with the status 3 instead.
    """

    exit_status = 3


class RefusedError(BackupError):
    """A safety rule forbids the request. Nothing was read or written."""

    exit_status = 4


class ToolTooOldError(RefusedError):
    """A PostgreSQL client program is older than the server or the archive that it would have to read."""


class LockedError(BackupError):
    """Another run holds the lock that allows one writer at a time."""

    exit_status = 5
    default_unchanged = "Nothing was changed."
    default_hint = "Run the command again when the other run has ended, or let it wait: --wait SECONDS."


class YieldedError(BackupError):
    """Another session waited for a lock on a table that the run held, so the run ended to let it pass."""

    exit_status = 5
    default_unchanged = "No backup was recorded."
    default_hint = "Run the backup again when the migration or statement that waited has ended."


class IntegrityError(BackupError):
    """Stored data differs from what was written."""

    exit_status = 6
    default_hint = "Run verify_backup to see what is damaged, and use another backup (list_backups)."


def damaged_backup(what: str) -> IntegrityError:
    """Return the error for damage that is found while a backup is read, before anything live is changed."""
    hint = "Choose another backup: list_backups."
    return IntegrityError(what, unchanged="Nothing live was changed.", hint=hint)


def unexpected(error: BaseException) -> BackupError:
    """Return the error to show for an exception that no code of this package expects."""
    return BackupError(
        f"Unexpected {type(error).__name__}: {error}.",
        hint="This is a fault of igny8_backup: report it with the traceback in the log.",
    )


class UnhealthyError(BackupError):
    """The monitor found backups that are too old, too small or damaged, or could not examine them."""

    exit_status = 7


class UnfinishedError(BackupError):
    """A restore or undo was begun and not finished. The message says how to finish or undo it."""

    exit_status = 8


class StoppedError(BackupError):
    """A time limit of a task ended the work before it was done. The message says how to raise the limit."""


class ToolError(BackupError):
    """A child process failed. The message contains its name, exit status and the end of its stderr.

    ``exit_status_of_tool`` is the return code of ``subprocess``, negative for a signal. ``None`` means that
    the process did not start or that this package stopped it. The environment of the process is never
    included.
    """

    def __init__(
        self,
        what: str,
        unchanged: str = "",
        hint: str = "",
        *,
        stderr_tail: str = "",
        exit_status_of_tool: int | None = None,
    ) -> None:
        super().__init__(what, unchanged, hint)
        self.stderr_tail = stderr_tail
        self.exit_status_of_tool = exit_status_of_tool


class ToolMissingError(ToolError):
    """A program is not installed."""


class DatabaseError(BackupError):
    """The database server is down or refused a statement, or the role lacks a privilege."""


class StorageError(BackupError):
    """The storage is down, refused a request, or returned something unexpected."""


class FilesError(BackupError):
    """A folder or file on this machine cannot be read or written."""


class IdentityError(BackupError):
    """The age identity (the file with the private key) is missing, malformed, or cannot decrypt the data."""
