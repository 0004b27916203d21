"""Open the storages of a context: the one to work on, the project's own, and a second handle for locks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from django.core.files.storage import Storage

from igny8_backup.conf import STORAGE_ALIAS, Config, Problem
from igny8_backup.errors import BackupError
from igny8_backup.formats.objects import StoredObject
from igny8_backup.operations.guards import preconditions
from igny8_backup.operations.progress import NullProgress
from igny8_backup.store import Retry, Store, open_store
from igny8_backup.store.intact import open_intact
from igny8_backup.streams import Blocks
from igny8_backup.streams.rate import RateLimit


@dataclass(frozen=True)
class Stores:
    """The storage to work on (``store``), and the one to which the locks belong (``own``).

    ``reopen`` opens ``own`` a second time, for the thread that renews the lock. ``again`` opens ``store`` a
    second time, for a thread that reads or stores objects.
    """

    store: Store
    own: Store
    reopen: Callable[[], AbstractContextManager[Store]]
    again: Callable[[], AbstractContextManager[Store]]


@dataclass(frozen=True)
class Spares:
    """The other storages that may have the objects of a backup: the copies, or the original of a copy.

    Each of ``openers`` opens one of the storages. ``note`` receives a sentence for each object that is read
    there.
    """

    openers: tuple[Callable[[], Store], ...] = ()
    note: Callable[[str], None] = NullProgress().note

    @classmethod
    def of(cls, config: Config, alias: str, note: Callable[[str], None]) -> Spares:
        """Return the other storages that hold the same backups as the storage ``alias``.

        These are the main storage and the storages in ``COPIES``, without ``alias``. There are none if
        ``alias`` is not one of these storages.
        """
        copies = tuple(copy.storage for copy in config.copies.values())
        known = (STORAGE_ALIAS, *copies) if copies and alias in (STORAGE_ALIAS, *copies) else ()
        return cls(tuple(partial(_open, config, one) for one in known if one != alias), note)

    def has(self, item: StoredObject) -> bool:
        """Return whether one of the storages has an object of this key and size."""
        for opener in self.openers:
            with suppress(BackupError), opener() as store:
                if store.size(item.key) == item.stored_bytes:
                    return True
        return False

    def readers(self, key: str, sha256: str, size: int) -> list[Callable[[], Blocks]]:
        """Return, for each of the storages, a function that yields the stored bytes of the object ``key``."""
        return [partial(self._read, opener, key, sha256, size) for opener in self.openers]

    def _read(self, opener: Callable[[], Store], key: str, sha256: str, size: int) -> Blocks:
        # A store of its own, because a restore may read several objects at the same time.
        with opener() as store:
            self.note(f"WARNING: {key} is missing or damaged. It is read from {store.describe()}.")
            yield from open_intact(store, key, sha256, size, self.note)()


def _open(config: Config, alias: str) -> Store:
    storage = preconditions.new_storage(config, alias)
    return open_store(storage, config.prefix, Retry(config.retry_seconds))


NO_SPARES = Spares()


@contextmanager
def open_stores(
    config: Config, storage: Storage, alias: str, retry: Callable[[], Retry], *, changing: bool
) -> Iterator[Stores]:
    """Open ``storage``, which is the entry ``alias`` of ``STORAGES``, and the storage that has the locks.

    ``retry`` returns a new ``Retry`` for each opened storage. ``changing``: the operation changes the backups
    in ``storage``, so it locks ``storage``. Otherwise it locks the project's own storage, if the settings
    have one. Raises ``StorageError`` if a storage cannot hold backups.
    """
    with ExitStack() as stack:
        lock = config.object_lock.get(alias)
        own = store = stack.enter_context(open_store(storage, config.prefix, retry(), lock))
        owner = alias
        if alias != STORAGE_ALIAS and not changing:
            home = preconditions.find_storage(config)
            if not isinstance(home, Problem):
                own, owner = stack.enter_context(open_store(home, config.prefix, retry())), STORAGE_ALIAS
        store.rate = RateLimit(config.max_upload_rate)

        def reopen() -> Store:
            return open_store(preconditions.new_storage(config, owner), config.prefix)

        def again() -> Store:
            opened = open_store(preconditions.new_storage(config, alias), config.prefix, retry(), lock)
            opened.rate = store.rate
            return opened

        yield Stores(store, own, reopen, again)
