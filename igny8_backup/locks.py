"""One writer at a time.

Two locks, because each sees what the other cannot: a file lock in ``STATE_DIR`` keeps runs of one host apart
and works without a database; an advisory lock on the primary (PostgreSQL docs, 13.3.5) keeps hosts apart.
Both die with their holder. The advisory lock is taken in the maintenance database: it is per database, and a
session in the live one would block the rename of a restore.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import psycopg

from igny8_backup.errors import FilesError, LockedError

_HOLDER = """
    SELECT coalesce(host(a.client_addr), 'the same host'), a.backend_start, a.application_name FROM pg_locks l
    JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND ((l.classid::bigint << 32) | l.objid::bigint) = %s
      AND a.backend_start IS NOT NULL  -- null where the holder is a role that this one may not watch"""
_NAME = "igny8_backup: "
_WAY_OUT = "Wait for it to end, then run again; or let it be waited for: --wait SECONDS."
_OURS = """
    SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
      AND pid = pg_backend_pid() AND ((classid::bigint << 32) | objid::bigint) = %s"""


class Lockable(Protocol):
    """What a lock is on: mostly a ``Store``."""

    def identity(self) -> str:
        """The same in every process, and of nothing else."""

    def describe(self) -> str:
        """For people, without secrets."""


class AdvisoryLock:
    """Held by ``session``, of a maintenance database, until it ends."""

    def __init__(self, session: psycopg.Connection[Any], of: Lockable, *, doing: str = "a run") -> None:
        """Raises :class:`LockedError` saying who holds it, since when, ``doing`` what."""
        self._key = self.key(of)
        self._session = session
        (granted,) = session.execute("SELECT pg_try_advisory_lock(%s)", [self._key]).fetchone() or (False,)
        if not granted:
            holder = session.execute(_HOLDER, [self._key]).fetchone()
            who = f": {_doing(holder[2])} from {holder[0]}, since {_second(holder[1])}" if holder else ""
            raise LockedError(
                f"Another run works on {of.describe()}{who}.",
                unchanged="Nothing was changed.",
                hint=_WAY_OUT,
            )
        # What others read in pg_stat_activity; the server cuts it at 63 bytes.
        session.execute("SELECT set_config('application_name', %s, false)", [f"{_NAME}{doing}"])

    @staticmethod
    def key(of: Lockable) -> int:
        """The number that stands for it: a bigint, kept positive."""
        return int.from_bytes(hashlib.sha256(of.identity().encode()).digest()[:8], "big") >> 1

    def check(self, *, unchanged: str = "No backup was recorded.") -> None:
        """Raises :class:`LockedError` when the lock was lost with its session: another run may have begun."""
        try:
            held = self._session.execute(_OURS, [self._key]).rowcount
        except psycopg.Error:
            held = 0
        if not held:
            raise LockedError(
                "The lock was lost: the server ended the session that held it.",
                unchanged=unchanged,
                hint="Run again.",
            )


@contextmanager
def file_lock(of: Lockable, state_dir: Path, *, doing: str, now: datetime) -> Iterator[None]:
    """The lock of this host.

    Raises :class:`LockedError` saying which process holds it, since when, doing what; ``FilesError`` when
    ``state_dir`` cannot be used.
    """
    digest = hashlib.sha256(of.identity().encode()).hexdigest()[:16]
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(state_dir / f"{digest}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FilesError(
            f"The state folder {state_dir} cannot be used: {error.strerror}.",
            unchanged="Nothing was changed.",
            hint="Point IGNY8_BACKUP['STATE_DIR'] at a private folder on a volume that lasts.",
        ) from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LockedError(
                f"Another run works on {of.describe()}: {_holder(handle)}.",
                unchanged="Nothing was changed.",
                hint=_WAY_OUT,
            ) from None
        holder = {"pid": os.getpid(), "doing": doing, "since": _second(now)}
        with suppress(OSError):  # on a full disk: who holds it matters only to the words of others
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps(holder).encode(), 0)
        yield
    finally:
        os.close(handle)


def _doing(application: str) -> str:
    return application.removeprefix(_NAME) if application.startswith(_NAME) else "a run"


def _second(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def _holder(handle: int) -> str:
    try:
        found = json.loads(os.pread(handle, 4096, 0))
        return f"process {found['pid']}, {found['doing']}, since {found['since']}"
    except (ValueError, KeyError, TypeError):
        return "a process that has just begun"
