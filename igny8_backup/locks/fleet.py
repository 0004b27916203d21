"""The lock in the storage that the runs of one fleet backup hold together.

It is one claim (see ``locks.storage``), whose key is derived from the id of the fleet backup. The coordinator
takes the lock. Every host that makes its part renews the claim too, so that it outlives a coordinator that is
killed. With one claim for all, a thousand hosts read no thousand claims. A claim that nobody renews any more
expires.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from igny8_backup.common.clock import utc_now
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys
from igny8_backup.formats.documents.claims import LEASE, RENEWAL, SCHEMA, Claim
from igny8_backup.locks.host import HeldLock
from igny8_backup.locks.storage import OpenStore, StorageLock, read, take, write
from igny8_backup.store import MissingObjectError, Store


class CoordinatorLock(StorageLock):
    """The lock of a fleet backup, as its coordinator holds it.

    ``left``: closing it leaves the claim. ``unneeded``: no host holds it, so an exception removes the claim.
    """

    left = False
    unneeded = False

    def close(self) -> None:
        """Stop renewing the claim. Remove it, unless it is left to the hosts."""
        if self.left:
            self.stop_renewing()
        else:
            super().close()


class SharedLock(StorageLock):
    """The lock of a fleet backup, as one of its runs holds it. Closing it leaves the claim to the others."""

    def close(self) -> None:
        """Stop renewing the claim."""
        self.stop_renewing()

    def renew(self, store: Store) -> bool:
        """Renew the claim, unless another run has done so lately. Return false if the lock was lost."""
        return _is_fresh(store, self.key, RENEWAL / 2) or super().renew(store)


@contextmanager
def coordinator_lock(
    store: Store, open_store: OpenStore | None, *, fleet: str, host: str
) -> Iterator[CoordinatorLock]:
    """Lock ``store`` for the fleet backup ``fleet`` until the block ends. ``host`` is the coordinator's.

    If an exception ends the block, the claim stays until it expires, because hosts may be making their parts:
    except after :func:`release_when_stopped`. :func:`leave_to_hosts` leaves the claim, too.
    Raises :class:`LockedError` if another run holds the lock, and ``StorageError``.
    """
    key, claim, folder = keys.lock_key(fleet), _claim(fleet, host), store.local_path()
    if folder is not None and not folder.exists():
        write(store, key, claim)  # the first object creates the folder, which cannot be listed before
    take(store, open_store, key, claim)
    lock = CoordinatorLock(store, key, claim, open_store)
    lock.start()
    try:
        yield lock
    except BaseException:
        if lock.unneeded:
            lock.close()
        else:
            lock.stop_renewing()
        raise
    lock.close()


def leave_to_hosts(locks: Iterable[HeldLock]) -> None:
    """Let the claim of a coordinator that ends stay until it expires, because a host still needs it."""
    for lock in locks:
        if isinstance(lock, CoordinatorLock):
            lock.left = True


def release_when_stopped(locks: Iterable[HeldLock]) -> None:
    """Let the claim of a coordinator that is being stopped be removed, because no host needs it."""
    for lock in locks:
        if isinstance(lock, CoordinatorLock):
            lock.unneeded = True


@contextmanager
def shared_lock(
    store: Store, open_store: OpenStore | None, *, fleet: str, host: str
) -> Iterator[StorageLock]:
    """Hold the lock of the fleet backup ``fleet`` together with its coordinator until the block ends.

    If the coordinator was killed and the lock has expired, this run takes it again. Raises
    :class:`LockedError` if another run holds the lock by now, and ``StorageError``.
    """
    key, claim = keys.lock_key(fleet), _claim(fleet, host)
    if not _is_fresh(store, key, LEASE):
        take(store, open_store, key, claim)
    lock = SharedLock(store, key, claim, open_store)
    lock.start()
    try:
        yield lock
    finally:
        lock.close()


def _claim(fleet: str, host: str) -> Claim:
    now = utc_now()
    doing = f"the fleet backup {fleet}"
    return Claim(schema=SCHEMA, host=host, owner=secrets.token_hex(16), doing=doing, since=now, renewed=now)


def _is_fresh(store: Store, key: str, age: timedelta) -> bool:
    """Return whether the claim was renewed less than ``age`` ago, by the clock of the host that did so."""
    try:
        claim = read(store, key)
    except (MissingObjectError, IntegrityError):
        return False
    return not claim.released and abs(utc_now() - claim.renewed) < age
