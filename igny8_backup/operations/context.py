"""The context of a command or task: settings, storage, databases, locks and progress.

:func:`open_context` checks the settings and yields a :class:`BackupContext`, which every operation takes as
its first argument.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from igny8_backup.catalog.backups import Catalog
from igny8_backup.catalog.known_manifests import KnownManifests
from igny8_backup.catalog.lists import Lists
from igny8_backup.catalog.snapshot.snapshot_catalog import catalog_of
from igny8_backup.common.clock import utc_now
from igny8_backup.conf import STORAGE_ALIAS, Config, get_config
from igny8_backup.databases.engine import Engine
from igny8_backup.databases.registry import guard_sqlite, make_engine
from igny8_backup.formats.manifest import Manifest
from igny8_backup.formats.objects import StoredObject
from igny8_backup.journal import Journals
from igny8_backup.locks.host import HeldLock
from igny8_backup.operations.guards import preconditions
from igny8_backup.operations.guards.genuine import Accept, require_encryption, require_genuine
from igny8_backup.operations.helper_steps import Shortfalls
from igny8_backup.operations.identities import find_identities
from igny8_backup.operations.installation import changed_defaults
from igny8_backup.operations.locking import run_locks
from igny8_backup.operations.locking.lock_wait import retry_until
from igny8_backup.operations.progress import NullProgress, Progress, RunObserver
from igny8_backup.operations.stores import NO_SPARES, Spares, open_stores
from igny8_backup.operations.transfer import download
from igny8_backup.operations.transfer.upload import Upload
from igny8_backup.signing import signing_key
from igny8_backup.signing.signing_key import SigningKey
from igny8_backup.store import Retry, Store
from igny8_backup.store.intact import open_intact
from igny8_backup.streams import Blocks
from igny8_backup.streams.age import Identity
from igny8_backup.streams.pipeline import Codec


def random_token() -> str:
    return secrets.token_hex(3)


@dataclass(frozen=True)
class BackupContext:
    """The settings, storage, databases and progress of one command or task; made by :func:`open_context`.

    ``store`` is the storage to read from and write to, ``alias`` its name in ``STORAGES``. The locks belong
    to ``own_store``: the project's own storage, or ``store`` if the operation changes backups there. ``wait``
    is how many seconds to wait for the lock of another run. ``accept`` says which unsafe backups may be read.
    ``shortfalls`` collects failed helper steps. ``reopen`` opens ``own_store`` again, for the thread that
    renews the lock in the storage; without ``reopen``, that lock soon expires. ``again`` opens ``store``
    again, for a thread that reads or stores objects. ``lists`` reads and caches lists. Objects that are
    missing or damaged in ``store`` are read from the storages ``spares``. ``fleet`` is the id of the fleet
    backup or fleet restore that this run belongs to: its runs do not exclude one another.
    """

    config: Config
    store: Store
    own_store: Store
    codec: Codec
    progress: Progress = field(default_factory=NullProgress)
    clock: Callable[[], datetime] = utc_now
    token: Callable[[], str] = random_token
    wait: float = 0
    accept: Accept = Accept()
    shortfalls: Shortfalls = field(default_factory=Shortfalls, compare=False)
    reopen: Callable[[], AbstractContextManager[Store]] | None = None
    again: Callable[[], AbstractContextManager[Store]] | None = None
    alias: str = STORAGE_ALIAS
    spares: Spares = NO_SPARES
    lists: Lists = field(default_factory=Lists, repr=False, compare=False)
    fleet: str = ""
    _engines: dict[str, Engine] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def catalog(self) -> Catalog:
        return catalog_of(self.store, self.config.trust, self.known_manifests, self.lists, self.alias)

    @property
    def known_manifests(self) -> KnownManifests:
        """What this host remembers of the manifests that it made or trusted earlier."""
        own = self.alias == STORAGE_ALIAS
        return KnownManifests(self.config.state_dir, self.store.identity(), own=own)

    @property
    def journals(self) -> Journals:
        return Journals(self.config.state_dir)

    def engine(self, alias: str) -> Engine:
        """Return the engine (database adapter) of ``alias``; all calls for one alias return the same engine.

        Raises the errors of :func:`make_engine`.
        """
        if alias not in self._engines:
            self._engines[alias] = make_engine(alias, self.config)
        return self._engines[alias]

    @property
    def files_codec(self) -> Codec:
        """The codec (compression and encryption) for file trees, which have their own compression level."""
        return replace(self.codec, level=self.config.files_compression_level)

    def observe(
        self, what: str, *, reason: Callable[[], str] = str, heartbeat: Callable[[], None] = lambda: None
    ) -> RunObserver:
        """Return an observer that shows the progress of the work on ``what`` and reports stalls.

        ``reason`` and ``heartbeat`` are explained in :class:`RunObserver`.
        """
        return RunObserver(
            what, self.progress, stall_seconds=self.config.stall_seconds, reason=reason, heartbeat=heartbeat
        )

    def upload(self, key: str, *, codec: Codec | None = None, claimed: bool = False) -> Upload:
        """Return an :class:`Upload`, which stores one object under ``key``.

        Without ``codec`` (compression and encryption), the codec for databases is used. ``claimed`` states
        that no other run writes to ``key``.
        """
        return Upload(self.store, key, codec or self.codec, claimed=claimed)

    def download(self, item: StoredObject, identities: list[Identity]) -> Blocks:
        """Yield the contents of a stored object, decrypted and decompressed.

        If the digests of its blocks are known, each block is checked before it is decoded. Otherwise the
        digest of the whole object is checked at the end; but if backups must be signed, the object is read
        twice, and its digest is checked before anything is decoded.

        Raises ``IntegrityError`` if the stored bytes are not those that were written, or if the object is not
        encrypted although ``RECIPIENTS`` is set; ``IdentityError`` if no identity can decrypt the object;
        ``StorageError``.
        """
        require_encryption(self.config, self.accept, item)
        digests = partial(self.lists.digests, self.store)
        spares = self.spares.readers(item.key, item.sha256, item.stored_bytes)
        return download.read_object(
            self.read_intact(item), digests, item, identities, before_use=self.must_be_signed, spares=spares
        )

    @property
    def must_be_signed(self) -> bool:
        """Whether this run refuses the contents of a backup that has no trusted signature."""
        return self.config.trust.required and not self.accept.unsigned

    def read_intact(self, item: StoredObject) -> Callable[[], Blocks]:
        """Return a function that yields the stored bytes of an object, as :func:`open_intact` does."""
        return open_intact(self.store, item.key, item.sha256, item.stored_bytes, self.progress.note)

    def require_genuine(self, manifest: Manifest) -> None:
        """Check that a backup is encrypted and signed as the settings demand. Raises ``IntegrityError``."""
        require_genuine(self.config, self.store, self.known_manifests, self.accept, manifest)

    def load_signing_key(self) -> SigningKey | None:
        """Load the key that this host signs with; ``None`` if the settings have none.

        Raises ``IdentityError`` if the file of the key cannot be used.
        """
        path = self.config.signing_key
        return signing_key.load(path) if path else None

    def identities(self, chosen: Path | None, *, needed: bool) -> list[Identity]:
        """Load the age identities (private keys) that decrypt backups.

        The arguments and the errors are those of :func:`~igny8_backup.operations.identities.find_identities`.
        """
        return find_identities(self.config, chosen, needed=needed)

    @contextmanager
    def locked(
        self, doing: str, *, storage: bool = True, coordinates: bool = False
    ) -> Iterator[list[HeldLock]]:
        """Hold the locks that exclude other runs: a file on this host, and a lock that other hosts see.

        ``doing``, such as "a backup", describes this run in the error messages of the other runs. Without
        ``storage`` no lock is taken in the storage, because the work does not need the storage. A run that
        only ``coordinates`` the work of other hosts takes no lock on this host.

        Yields the locks on the database server and in the storage. The caller checks them before it completes
        its work, because a lock is lost with its connection. If the server or the storage does not answer,
        its lock is left out and a note says so. Raises ``LockedError`` after ``wait`` seconds.
        """
        changed_defaults.note_first_run(self.config)
        own, note = self.own_store, self.progress.note
        run = run_locks.Run(self.config, own, self.reopen, self.engine, note, doing, self.clock, self.fleet)
        take = run_locks.take_for_fleet if coordinates else partial(run_locks.take, storage=storage)
        with retry_until(lambda: take(run), self.wait, self.progress) as held:
            yield held

    def when_free(self, doing: str) -> BackupContext:
        """Wait until no other run holds the locks; return a context that does not wait again.

        An operation that shows a plan before it takes the locks calls this first, so that the plan takes the
        changes of the other run into account. Raises ``LockedError`` after ``wait`` seconds.
        """
        if self.wait:
            with self.locked(doing):
                pass
        return replace(self, wait=0)


@contextmanager
def open_context(
    *,
    progress: Progress | None = None,
    writing: bool = False,
    storage_alias: str = STORAGE_ALIAS,
    wait: float = 0,
    accept: Accept = Accept(),  # noqa: B008 - frozen
    clock: Callable[[], datetime] = utc_now,
    token: Callable[[], str] = random_token,
    brief: bool = False,
    as_of: datetime | None = None,
    changing: bool = False,
    healing: bool = False,
) -> Iterator[BackupContext]:
    """Check the settings and open the storage; yield the context of one command or task.

    ``writing``: the operation stores backups, so encryption is checked too. ``storage_alias`` is the entry of
    ``STORAGES`` to work on, or the name of a copy in ``COPIES``. ``changing``: the operation changes the
    backups there, so the locks belong to that storage. ``healing``: objects that are missing or damaged are
    read from the copies. ``brief``: if the storage does not answer, give up after seconds, not minutes.
    ``as_of``: read the storage as it was at that time. The other arguments are fields of the context.

    Raises :class:`~igny8_backup.conf.ConfigurationError`; :class:`RefusedError` if DEBUG is off and a
    database is SQLite, if the storage is missing or served to the public, or if folders overlap;
    :class:`UsageError` if ``STORAGES`` has no entry ``storage_alias``.
    """
    config = get_config()
    storage_alias = config.alias_of(storage_alias)
    for alias in config.databases:
        guard_sqlite(alias, config)
    storage = preconditions.require(config, alias=storage_alias, writing=writing)
    shown = progress or NullProgress()
    for note in preconditions.debug_notes(config, alias=storage_alias, writing=writing):
        shown.note(note)
    preconditions.make_home(config)
    codec = Codec(level=config.compression_level, recipients=config.recipients)
    retry = partial(Retry.brief if brief else Retry, config.retry_seconds, report=shown.note)
    with open_stores(config, storage, storage_alias, retry, changing=changing) as found:
        store = found.store.as_of(as_of) if as_of else found.store
        config = config.at_storage(storage_alias)
        made = BackupContext(config, store, found.own, codec, shown, clock, token, wait, accept)
        spares = Spares.of(config, storage_alias, shown.note) if healing and not as_of else NO_SPARES
        made = replace(made, alias=storage_alias, spares=spares, lists=Lists(spares.readers))
        yield replace(made, reopen=found.reopen, again=found.again)
