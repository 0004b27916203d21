"""One drill at a time, on a host and beside a database: by locks that die with their holder."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.databases.engine import Capability, Engine
from igny8_backup.errors import FilesError
from igny8_backup.locks import AdvisoryLock, Lockable, file_lock
from igny8_backup.operations.context import BackupContext


@dataclass(frozen=True, kw_only=True)
class _OnHost:
    """The drills of one project on this host."""

    store: Lockable

    def identity(self) -> str:
        return self.store.identity()

    def describe(self) -> str:
        return f"the drills from {self.store.describe()}"


@dataclass(frozen=True, kw_only=True)
class _Beside:
    """The databases that drills make beside one: what the lock across hosts is on."""

    place: str
    where: str

    def identity(self) -> str:
        return f"igny8_backup drill {self.place}"

    def describe(self) -> str:
        return f"the drill databases beside {self.where}"


@contextmanager
def drill_locks(context: BackupContext, doing: str) -> Iterator[Callable[[], None]]:
    """Holds the locks; gives what raises ``LockedError`` once one of them was lost.

    Raises ``LockedError`` naming who holds one, ``DatabaseError``, ``FilesError``.
    """
    with ExitStack() as stack:
        stack.enter_context(_host_lock(context, doing))
        held = []
        for place, engine in {engine.identity(): engine for engine in drill_engines(context)}.items():
            session = stack.enter_context(engine.lock_session())
            beside = _Beside(place=place, where=engine.where)
            held.append(AdvisoryLock(session, beside, doing=f"{doing} of {context.config.host}"))

        def check() -> None:
            for lock in held:
                lock.check(unchanged="Nothing live was changed, and no result was recorded.")

        yield check


@contextmanager
def look(context: BackupContext) -> Iterator[bool]:
    """Whether no drill goes on on this host; ``False`` too where nobody can tell.

    It takes nothing from a drill that would begin: that one waits for the end of the look, and looks do not
    keep one another out.
    """
    try:
        handle = os.open(_looked_at(context), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def project_digest(context: BackupContext) -> str:
    """Stands for what the lock of this host is on, where it lies and the store: that of no other project."""
    of = f"{os.path.realpath(context.config.state_dir)}\n{context.store.identity()}"
    return hashlib.sha256(of.encode()).hexdigest()[:12]


def drill_engines(context: BackupContext) -> list[Engine]:
    """Return the engines of the configured databases that a drill can restore."""
    engines = (context.engine(alias) for alias in context.config.databases)
    return [engine for engine in engines if engine.supports(Capability.DRILL)]


@contextmanager
def _host_lock(context: BackupContext, doing: str) -> Iterator[None]:
    """Two locks: drills keep one another out by the first, at once and with words. The second is for looks: a
    shared hold of the first would end a drill that began meanwhile."""
    with file_lock(_OnHost(store=context.store), _folder(context), doing=doing, now=context.clock()):
        path = _looked_at(context)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise FilesError(f"{path} cannot be opened: {error.strerror}.") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)  # waits for looks only, and no look takes long
            yield
        finally:
            os.close(handle)


def _folder(context: BackupContext) -> Path:
    return context.config.state_dir / "drill"


def _looked_at(context: BackupContext) -> Path:
    return _folder(context) / f"{project_digest(context)}.look"
