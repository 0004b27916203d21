"""A lock in the storage itself, which excludes runs on all hosts that use the storage.

Storages have no atomic operation in common: some ignore ``If-None-Match``, and a folder on a network may lack
locks. What they have in common is that a listing shows every object that was written before. So a run writes
a claim (a small object) under a key of its own, and then lists the claims. It holds the lock if there is no
claim of another run. Two runs cannot both hold it: the listing of one of them came after the claim of the
other was written. If several runs write claims at the same moment, those with a higher key withdraw, and the
one with the lowest key lists the claims again.

A claim is renewed every minute. One that was not renewed for five minutes belongs to a run that was killed,
and is removed. Ages are compared by the clock of the storage where it reports times, so the clocks of the
hosts do not matter.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from igny8_backup.common.clock import utc_now
from igny8_backup.common.filesystem import replace_file
from igny8_backup.errors import BackupError, IntegrityError, LockedError, StorageError
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.claims import LEASE, RENEWAL, SCHEMA, Claim
from igny8_backup.store import MissingObjectError, Store
from igny8_backup.store.objects import Stored, UnreachableError

CONTEST_SECONDS = 10.0
"""How long the run with the lowest key waits for the others to withdraw."""
LOOK_AGAIN_SECONDS = 0.3
CHECK_SECONDS = 20.0
"""``StorageLock.check`` asks the storage at most this often."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

OpenStore = Callable[[], AbstractContextManager[Store]]


class StorageLock:
    """The lock that this run holds in a storage; made by :func:`storage_lock`."""

    def __init__(self, store: Store, key: str, claim: Claim, open_store: OpenStore | None) -> None:
        self._store = store
        self._open_store = open_store
        self.key = key
        self._claim = claim
        self._written = self._checked = _seconds()
        self._lost = False
        self._closed = threading.Event()
        # A store may be used by one thread at a time, so the thread opens one of its own, if the run takes so
        # long that the claim has to be renewed. Daemon: a hanging storage must not keep the interpreter.
        self._thread = threading.Thread(
            target=self._renew_until_closed, args=(open_store,), name="igny8_backup-lock", daemon=True
        )

    def check(self, *, unchanged: str = "No backup was recorded.") -> None:
        """Raise :class:`LockedError` if the claim was lost because it was not renewed in time.

        In that case another run can hold the lock already. ``unchanged`` is the sentence of the message that
        says what was not changed. Also raises ``StorageError``.
        """
        if not self._lost and _seconds() - self._checked > CHECK_SECONDS:
            # A run that takes the lock over removes the expired claim first.
            self._lost = not self._store.exists(self.key)
            self._checked = _seconds()
        if self._lost:
            raise LockedError(
                "The lock in the storage was lost, because this run could not renew it for minutes.",
                unchanged=unchanged,
                hint="Run the command again. This happens if the machine was suspended, or if the storage"
                " did not answer.",
            )

    def start(self) -> None:
        """Begin to renew the claim."""
        if self._open_store is not None:
            self._thread.start()

    def close(self) -> None:
        """Stop renewing and remove the claim. A claim that cannot be removed is marked as released."""
        self.stop_renewing()
        withdraw(self._store, self.key, self._claim)

    def stop_renewing(self) -> None:
        """End the thread that renews the claim."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(2.0)

    def _renew_until_closed(self, open_store: OpenStore) -> None:
        while not self._closed.wait(RENEWAL.total_seconds()):
            # After a failure it is tried again in a minute; check() notices a claim that was lost.
            with suppress(BackupError), open_store() as store:
                while self.renew(store) and not self._closed.wait(RENEWAL.total_seconds()):
                    pass

    def renew(self, store: Store) -> bool:
        """Renew the claim. Return false if the lock was lost, or is being released."""
        if self._lost or self._closed.is_set():
            return False
        if not store.exists(self.key):
            self._lost = True
            return False
        late = _seconds() - self._written > LEASE.total_seconds() / 2
        write(store, self.key, self._claim)
        self._written = _seconds()
        # Another run may have removed the expired claim just before it was written again.
        if late and _living(store, self.key, self._claim):
            self._lost = True
        return not self._lost


@contextmanager
def storage_lock(
    store: Store, open_store: OpenStore | None, *, host: str, state_dir: Path, doing: str
) -> Iterator[StorageLock]:
    """Lock ``store`` against runs on other hosts until the block ends.

    ``open_store`` opens the same store for another thread, which renews the claim; with None the claim is not
    renewed. ``doing`` describes this run in the messages of other runs. The caller holds the lock of its own
    host, so an older claim from the same ``state_dir`` belongs to a killed run. Raises :class:`LockedError`,
    which names the other run, and ``StorageError``.
    """
    now = utc_now()
    claim = Claim(
        schema=SCHEMA, host=host, owner=_owner(state_dir, host), doing=doing, since=now, renewed=now
    )
    lock = take(store, open_store, keys.lock_key(keys.make_id(now, secrets.token_hex(3))), claim)
    lock.start()
    try:
        yield lock
    finally:
        lock.close()


def take(store: Store, open_store: OpenStore | None, key: str, claim: Claim) -> StorageLock:
    """Take the lock with the ``claim`` under ``key``; return it, not started yet.

    The arguments and the errors are those of :func:`storage_lock`.
    """
    if others := _living(store, key, claim):
        raise _locked(store, others)
    try:
        write(store, key, claim)
        _contest(store, key, claim)
        return StorageLock(store, key, claim, open_store)
    except BaseException:
        withdraw(store, key, claim)
        raise


def withdraw(store: Store, key: str, claim: Claim) -> None:
    """Remove a claim; if that is not allowed, mark it as released."""
    try:
        store.delete(key)
    except StorageError:
        with suppress(StorageError):
            write(store, key, replace(claim, released=True))


def _contest(store: Store, key: str, claim: Claim) -> None:
    """Wait until the claim under ``key`` is the only one.

    Raises :class:`LockedError` if another run has a claim with a lower key, or a claim that does not
    disappear within ``CONTEST_SECONDS``.
    """
    deadline = time.monotonic() + CONTEST_SECONDS
    while others := _living(store, key, claim):
        if min(others) < key or time.monotonic() > deadline:
            raise _locked(store, others)
        time.sleep(LOOK_AGAIN_SECONDS)


def _living(store: Store, key: str, claim: Claim) -> dict[str, Claim | None]:
    """Return the active claims of other runs, by key; the value is ``None`` for an unreadable claim.

    ``key`` and ``claim`` are those of this run. Claims of killed runs are removed.
    """
    listed = {item.key: item for item in store.list(keys.LOCKS) if keys.parse(item.key)}
    own = listed.pop(key, None)
    now = own.modified if own and own.modified else utc_now()
    found: dict[str, Claim | None] = {}
    for item in listed.values():
        try:
            other: Claim | None = read(store, item.key)
        except MissingObjectError:
            continue  # released meanwhile
        except UnreachableError:
            raise
        except (IntegrityError, StorageError):  # the listing still shows its age
            other = None
        if _is_dead(item, other, claim, now):
            with suppress(StorageError):
                store.delete(item.key)
        elif not (other and other.released):
            found[item.key] = other
    return found


def _is_dead(item: Stored, other: Claim | None, claim: Claim, now: datetime) -> bool:
    if other and other.owner == claim.owner:
        return True  # the run that wrote it held the lock of this host, which is ours now
    written = item.modified or (other.renewed if other else now)
    return now - written > LEASE


def read(store: Store, key: str) -> Claim:
    """Read the claim ``key``. Raises ``MissingObjectError``, ``IntegrityError`` and ``StorageError``."""
    data = store.read_small(key)
    return records.from_json(Claim, data, name=f"The claim {key}", schema=SCHEMA)


def write(store: Store, key: str, claim: Claim) -> None:
    """Write ``claim`` under ``key``, renewed now. Raises ``StorageError``."""
    store.put_small(key, records.to_json(replace(claim, renewed=utc_now())))


def _locked(store: Store, others: dict[str, Claim | None]) -> LockedError:
    claim = others[min(others)]
    who = ""
    if claim:
        who = f": {claim.doing} on host {claim.host}, since {claim.since.isoformat(timespec='seconds')}"
    return LockedError(f"Another run is using {store.describe()}{who}.")


def _owner(state_dir: Path, host: str) -> str:
    """Return a digest that identifies ``state_dir`` and the present boot of this machine.

    Each claim holds the digest of the run that wrote it. A later run with the same digest removes the claim:
    the later run holds the file lock of ``state_dir``, so the run that wrote the claim has ended.
    """
    path = state_dir / "lock-owner"
    with suppress(OSError):
        if not path.exists():
            replace_file(path, secrets.token_hex(16).encode())
        boot = _BOOT_ID.read_text() if _BOOT_ID.exists() else ""
        text = f"{path.read_text()}\n{boot}\n{host}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]
    return secrets.token_hex(16)


def _seconds() -> float:
    """Return the seconds since the boot of the machine, including the time when it was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
