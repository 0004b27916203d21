"""The locks of one run: a file on this host, the database server, and the storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime

from igny8_backup.conf import Config
from igny8_backup.databases.capabilities import Capability
from igny8_backup.databases.engine import Engine
from igny8_backup.errors import DatabaseError, StorageError
from igny8_backup.locks.fleet import coordinator_lock, shared_lock
from igny8_backup.locks.host import AdvisoryLock, HeldLock, file_lock
from igny8_backup.locks.storage import storage_lock
from igny8_backup.store import Store


@dataclass(frozen=True)
class Run:
    """The run that takes the locks.

    ``doing`` describes the run, such as ``a backup``; other runs show it in their messages. The other fields
    come from the ``BackupContext``. ``store`` is its ``own_store``. ``fleet`` is the id of the fleet backup
    that the run belongs to.
    """

    config: Config
    store: Store
    reopen: Callable[[], AbstractContextManager[Store]] | None
    engine: Callable[[str], Engine]
    note: Callable[[str], None]
    doing: str
    now: Callable[[], datetime]
    fleet: str = ""


@contextmanager
def take(run: Run, *, storage: bool) -> Iterator[list[HeldLock]]:
    """Hold the locks of ``run`` during the ``with`` block; yield the locks that can be lost during the block.

    If ``storage`` is false, no lock is taken in the storage. If the database server or the storage does not
    answer, the run continues without its lock, and a note says so. The note about the storage is shown after
    the block: a run that needs the storage has failed by then, without the note. Raises ``LockedError`` if
    another run holds one of the locks.
    """
    with ExitStack() as stack:
        state_dir, host = run.config.state_dir, run.config.host
        stack.enter_context(file_lock(run.store, state_dir, doing=run.doing, now=run.now()))
        if run.fleet:  # the hosts work side by side, so the lock in the storage alone excludes others
            host = run.config.host
            yield [stack.enter_context(shared_lock(run.store, run.reopen, fleet=run.fleet, host=host))]
            return
        engines = (run.engine(alias) for alias in run.config.databases)
        primary = next((item for item in engines if item.supports(Capability.LOCK)), None)
        held: list[HeldLock] = []
        if primary:
            try:
                session = stack.enter_context(primary.lock_session())
            except DatabaseError as error:
                run.note(f"The lock on the database server could not be taken. {error}")
            else:
                advisory = AdvisoryLock(session, run.store, doing=f"{run.doing} of {host}")
                stack.callback(advisory.release)
                held.append(advisory)
        folder, without = run.store.local_path(), ""
        if storage and (folder is None or folder.exists()):
            lock = storage_lock(run.store, run.reopen, host=host, state_dir=state_dir, doing=run.doing)
            try:
                held.append(stack.enter_context(lock))
            except StorageError as error:
                without = f"The lock in the storage could not be taken. {error}"
        yield held
        if without:
            run.note(without)


@contextmanager
def take_for_fleet(run: Run) -> Iterator[list[HeldLock]]:
    """Hold the lock of the coordinator of the fleet backup ``run.fleet`` during the ``with`` block; yield it.

    The runs of the fleet backup share the lock in the storage. The lock on this host is not taken, because
    the coordinator changes nothing on it: a worker of this host may be making its part. Raises
    ``LockedError`` and ``StorageError``.
    """
    with coordinator_lock(run.store, run.reopen, fleet=run.fleet, host=run.config.host) as lock:
        yield [lock]
