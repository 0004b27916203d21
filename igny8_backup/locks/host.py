"""Locks that allow one writer at a time.

``file_lock`` locks a file in ``STATE_DIR``. It excludes other runs on this host and works without a database.
``AdvisoryLock`` locks a number on the database server (PostgreSQL documentation, 13.3.5) and excludes runs on
other hosts. Both locks end with the process. The advisory lock is taken in the maintenance database, because
a session in the live database would block the rename at the end of a restore. Hosts without a database are
excluded by :mod:`igny8_backup.locks.storage`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from igny8_backup.common.filesystem import ownership_hint, try_lock
from igny8_backup.databases.session import DriverError, Session
from igny8_backup.errors import FilesError, LockedError

_HOLDER = """
    SELECT coalesce(host(a.client_addr), 'the same host'), a.backend_start, a.application_name FROM pg_locks l
    JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND ((l.classid::bigint << 32) | l.objid::bigint) = %s
      AND a.backend_start IS NOT NULL  -- null if this role may not see the session of the holder"""
_NAME = "igny8_backup: "
_OURS = """
    SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
      AND pid = pg_backend_pid() AND ((classid::bigint << 32) | objid::bigint) = %s"""


class Lockable(Protocol):
    """An object that a lock can protect: usually a ``Store``."""

    def identity(self) -> str:
        """Return a text that identifies what is locked, the same in every process and on every host."""

    def describe(self) -> str:
        """Return the name of what is locked, for messages; without secrets."""


class HeldLock(Protocol):
    """A lock that this run holds, and that could be lost before the run ends."""

    def check(self, *, unchanged: str = ...) -> None:
        """Raise :class:`LockedError` if the lock was lost; ``unchanged`` says what was not changed."""


class AdvisoryLock:
    """An advisory lock of PostgreSQL, held in the maintenance database.

    The lock is held until ``release`` is called or the session ends.
    """

    def __init__(self, session: Session, of: Lockable, *, doing: str = "a run") -> None:
        """Take the lock that protects ``of``, usually a store.

        ``doing`` says in the messages of other runs what this run does. Raises :class:`LockedError` if
        another session holds the lock; the message names its host.
        """
        self._key = self.key(of)
        self._session = session
        (granted,) = session.execute("SELECT pg_try_advisory_lock(%s)", [self._key]).fetchone() or (False,)
        if not granted:
            holder = session.execute(_HOLDER, [self._key]).fetchone()
            who = f": {_doing(holder[2])} from {holder[0]}, since {_second(holder[1])}" if holder else ""
            raise LockedError(f"Another run is using {of.describe()}{who}.")
        # Shown to other runs in pg_stat_activity. The server truncates it to 63 bytes.
        session.execute("SELECT set_config('application_name', %s, false)", [f"{_NAME}{doing}"])

    @staticmethod
    def key(of: Lockable) -> int:
        """Return the number of the lock that protects ``of``: a positive bigint."""
        return int.from_bytes(hashlib.sha256(of.identity().encode()).digest()[:8], "big") >> 1

    def check(self, *, unchanged: str = "No backup was recorded.") -> None:
        """Raise :class:`LockedError` if the session that holds the lock has ended.

        Another run could have taken the lock since then. ``unchanged`` is the sentence of the error message
        that says what was not changed.
        """
        try:
            held = self._session.execute(_OURS, [self._key]).rowcount
        except DriverError:
            held = 0
        if not held:
            raise LockedError(
                "The lock was lost: the server ended the session that held it.",
                unchanged=unchanged,
                hint="Run the command again.",
            )

    def release(self) -> None:
        """Release the lock. Does nothing if the session has ended.

        A busy server notices only after a moment that a connection was closed. If the lock were not released
        explicitly, the next step of the same run could find it still taken.
        """
        with suppress(DriverError):
            self._session.execute("SELECT pg_advisory_unlock(%s)", [self._key])


@contextmanager
def file_lock(of: Lockable, state_dir: Path, *, doing: str, now: datetime) -> Iterator[None]:
    """Lock ``of``, usually a store, against other runs on this host until the block ends.

    ``doing`` (what this run does) and ``now`` appear in the messages of other runs. Raises
    :class:`LockedError` if another process holds the lock; the message names that process. Raises
    ``FilesError`` if ``state_dir`` cannot be used.
    """
    digest = hashlib.sha256(of.identity().encode()).hexdigest()[:16]
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(state_dir / f"{digest}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        hint = "Set IGNY8_BACKUP['STATE_DIR'] to a private folder on a persistent volume."
        if isinstance(error, PermissionError):
            hint = ownership_hint(state_dir)
        raise FilesError(
            f"The state folder {state_dir} cannot be used: {error.strerror}.",
            unchanged="Nothing was changed.",
            hint=hint,
        ) from None
    try:
        try:
            locked = try_lock(handle)
        except OSError as error:
            raise unlockable(state_dir, error) from None
        if not locked:
            raise LockedError(f"Another run is using {of.describe()}: {_holder(handle)}.")
        holder = {"pid": os.getpid(), "doing": doing, "since": _second(now)}
        with suppress(OSError):  # the disk may be full; other runs read this only for their messages
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps(holder).encode(), 0)
        yield
    finally:
        os.close(handle)


def unlockable(folder: Path, error: OSError) -> FilesError:
    """Return the error for a folder whose file system cannot lock files."""
    return FilesError(
        f"Files in {folder} cannot be locked: {error.strerror}.",
        unchanged="Nothing was changed.",
        hint="Set IGNY8_BACKUP['STATE_DIR'] to a folder whose file system has locks (flock), such as a local"
        " disk.",
    )


def _doing(application: str) -> str:
    return application.removeprefix(_NAME) if application.startswith(_NAME) else "a run"


def _second(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def _holder(handle: int) -> str:
    try:
        found = json.loads(os.pread(handle, 4096, 0))
        return f"process {found['pid']}, {found['doing']}, since {found['since']}"
    except (ValueError, KeyError, TypeError):
        return "a process that has just started"
