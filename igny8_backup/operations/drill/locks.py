"""The locks that allow one drill at a time on a host and on each database server.

The locks belong to an open file and to database sessions, so they end with the process of the drill.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.common.filesystem import try_lock
from igny8_backup.databases.capabilities import Capability
from igny8_backup.databases.engine import Engine
from igny8_backup.databases.values import ServerAccess
from igny8_backup.errors import FilesError
from igny8_backup.locks.host import AdvisoryLock, file_lock, unlockable
from igny8_backup.operations.context import BackupContext


@dataclass(frozen=True)
class _Protected:
    """A resource to lock (see :class:`~igny8_backup.locks.host.Lockable`).

    ``key`` identifies the resource; ``text`` describes it in messages.
    """

    key: str
    text: str

    def identity(self) -> str:
        return self.key

    def describe(self) -> str:
        return self.text


@contextmanager
def drill_locks(context: BackupContext, doing: str) -> Iterator[Callable[[], None]]:
    """Hold the locks of a drill. ``doing`` says what this process does; other processes show it in errors.

    Yields a function that raises ``LockedError`` if one of the locks was lost. If another process holds one
    of the locks, raises ``LockedError``, whose message names that process. Raises ``DatabaseError`` or
    ``FilesError`` if a lock cannot be taken for another reason.
    """
    with ExitStack() as stack:
        stack.enter_context(_host_lock(context, doing))
        held = []
        for place, engine in {engine.identity(): engine for engine in drill_engines(context)}.items():
            session = stack.enter_context(engine.lock_session())
            drills = _Protected(
                f"igny8_backup drill {place}", f"the drill databases on the server of {engine.where}"
            )
            lock = AdvisoryLock(session, drills, doing=f"{doing} of {context.config.host}")
            stack.callback(lock.release)
            held.append(lock)

        def check() -> None:
            for lock in held:
                lock.check(unchanged="Nothing live was changed, and no result was recorded.")

        yield check


@contextmanager
def no_drill_running(context: BackupContext) -> Iterator[bool]:
    """Yield ``True`` if no drill is running on this host; ``False`` if one is, or if that is unknown.

    A drill that starts during the ``with`` block waits until the block ends. Several processes can be in such
    a block at the same time.
    """
    try:
        handle = os.open(_query_lock(context), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        try:
            free = try_lock(handle, shared=True)
        except OSError:
            free = False
        yield free
    finally:
        os.close(handle)


def project_digest(context: BackupContext) -> str:
    """Return a digest that distinguishes this project from others on the same host or database server."""
    identity = f"{os.path.realpath(context.config.state_dir)}\n{context.store.identity()}"
    return hashlib.sha256(identity.encode()).hexdigest()[:12]


def role_prefix(context: BackupContext) -> str:
    """Return the prefix of the names of the database roles that drills of this project create."""
    return f"igny8_drill_{project_digest(context)}_"


def drill_engine(context: BackupContext, alias: str) -> tuple[Engine, ServerAccess | None]:
    """Return the engine for restoring ``alias`` on the server in the setting ``DRILL``, and the access to it.

    Without that setting, the engine connects as ``DATABASES`` says, and the second value is ``None``. The
    same holds for a database that drills do not support.
    """
    engine, server = context.engine(alias), context.config.drill_server
    if server is None or not engine.supports(Capability.DRILL):
        return engine, None
    access = ServerAccess(**vars(server))
    return engine.at(access), access


def drill_engines(context: BackupContext) -> list[Engine]:
    """Return the engines (adapters) of the databases in the settings that a drill can restore."""
    engines = (drill_engine(context, alias)[0] for alias in context.config.databases)
    return [engine for engine in engines if engine.supports(Capability.DRILL)]


@contextmanager
def _host_lock(context: BackupContext, doing: str) -> Iterator[None]:
    """Hold the two file locks of this host.

    If another drill holds the first lock, this raises an error that names that drill. The second lock is for
    :func:`no_drill_running`: while a process uses that function, this waits and does not fail.
    """
    drills = _Protected(context.store.identity(), f"the drills from {context.store.describe()}")
    with file_lock(drills, _folder(context), doing=doing, now=context.clock()):
        path = _query_lock(context)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            what = f"The lock file {path} cannot be opened: {error.strerror}."
            hint = "Set IGNY8_BACKUP['STATE_DIR'] to a writable private folder."
            raise FilesError(what, unchanged="Nothing was changed.", hint=hint) from None
        try:
            try:
                try_lock(handle, wait=True)  # only for no_drill_running(), which is short
            except OSError as error:
                raise unlockable(path.parent, error) from None
            yield
        finally:
            os.close(handle)


def _folder(context: BackupContext) -> Path:
    return context.config.state_dir / "drill"


def _query_lock(context: BackupContext) -> Path:
    return _folder(context) / f"{project_digest(context)}.look"
