"""The context of a command or task: settings, storage, databases, locks and progress.

:func:`open_context` checks the settings and yields a :class:`BackupContext`, which every operation takes as
its first argument.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from igny8_backup.catalog.backups import Catalog
from igny8_backup.conf import STORAGE_ALIAS, Config, Problem, get_config
from igny8_backup.databases.capabilities import Capability
from igny8_backup.databases.engine import Engine
from igny8_backup.databases.registry import guard_sqlite, make_engine
from igny8_backup.errors import (
    DatabaseError,
    IdentityError,
    IntegrityError,
    RefusedError,
    UsageError,
    damaged_backup,
)
from igny8_backup.formats.manifest import StoredObject
from igny8_backup.journal import Journals
from igny8_backup.locks import AdvisoryLock, file_lock
from igny8_backup.operations import preconditions
from igny8_backup.operations.lock_wait import retry_until
from igny8_backup.operations.progress import NullProgress, Progress, RunObserver
from igny8_backup.operations.upload import Upload
from igny8_backup.store import Store, open_store
from igny8_backup.streams import Blocks
from igny8_backup.streams.age import Identity, load_identities
from igny8_backup.streams.observe import verified
from igny8_backup.streams.pipeline import Codec, decode


def utc_now() -> datetime:
    return datetime.now(UTC)


def random_token() -> str:
    return secrets.token_hex(3)


@dataclass(frozen=True)
class BackupContext:
    """The settings, storage, databases and progress of one command or task; made by :func:`open_context`.

    ``store`` is the storage to read from and write to; ``own_store`` is the project's own, to which the locks
    belong. They differ only if a restore reads from the storage of another project. ``wait`` is how many
    seconds to wait for a lock that another run holds. ``clock`` and ``token`` are replaced in tests.
    """

    config: Config
    store: Store
    own_store: Store
    codec: Codec
    progress: Progress = field(default_factory=NullProgress)
    clock: Callable[[], datetime] = utc_now
    token: Callable[[], str] = random_token
    wait: float = 0
    _engines: dict[str, Engine] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def catalog(self) -> Catalog:
        return Catalog(self.store)

    @property
    def journals(self) -> Journals:
        return Journals(self.config.state_dir)

    def engine(self, alias: str) -> Engine:
        """Return the engine (database adapter) of ``alias``; every call returns the same one.

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

        The arguments are those of :class:`RunObserver`.
        """
        return RunObserver(
            what, self.progress, stall_seconds=self.config.stall_seconds, reason=reason, heartbeat=heartbeat
        )

    def upload(self, key: str, *, codec: Codec | None = None, claimed: bool = False) -> Upload:
        """Return an :class:`Upload`, which stores one object under ``key``.

        Without ``codec`` (compression and encryption), that for databases is used. ``claimed``: no other run
        writes to ``key``.
        """
        return Upload(self.store, key, codec or self.codec, claimed=claimed)

    def download(self, item: StoredObject, identities: list[Identity]) -> Blocks:
        """Yield the contents of a stored object, decrypted and decompressed.

        Checks the size and the SHA-256 of the stored bytes meanwhile. Raises ``IntegrityError`` if they
        differ from ``item``, ``IdentityError`` if no identity can decrypt the object, ``StorageError``.
        """
        stored = verified(
            self.store.open(item.key), sha256=item.sha256, size=item.stored_bytes, name=item.key
        )
        try:
            with closing(decode(stored, item.codecs, identities)) as blocks:
                yield from blocks
        except IdentityError as error:
            error.add_context("Nothing live was changed.")
            raise
        except IntegrityError as error:
            # Decryption and decompression do not know the key of the object.
            what = error.what if item.key in error.what else f"{item.key}: {error.what}"
            raise damaged_backup(what) from None

    def identities(self, chosen: Path | None, *, needed: bool) -> list[Identity]:
        """Load the age identities from the file ``chosen``, else from the setting ``IDENTITY_FILE``.

        Without either, returns an empty list, or raises :class:`IdentityError` if an identity is ``needed``.
        """
        encryption = self.config.encryption
        path = chosen or (encryption.identity_file if encryption else None)
        if path:
            return load_identities(path)
        if needed:
            what = "The backup is encrypted and no identity is given."
            hint = "Give the file that generate_backup_key wrote: --identity FILE."
            raise IdentityError(what, unchanged="Nothing was changed.", hint=hint)
        return []

    @contextmanager
    def locked(self, doing: str) -> Iterator[list[AdvisoryLock]]:
        """Hold the locks that exclude other runs.

        ``doing``, such as "a backup", describes this run in the error messages of the other runs.

        Yields the advisory locks on the database server. The caller checks them before it completes its work,
        because a lock is lost with its connection. The list is empty if no PostgreSQL server answers: then
        the file lock protects this host only. Raises ``LockedError`` after waiting ``wait`` seconds.
        """
        with retry_until(lambda: self._locks(doing), self.wait, self.progress) as held:
            yield held

    def when_free(self, doing: str) -> BackupContext:
        """Wait until no other run holds the locks; return a context that does not wait again.

        For operations that show a plan before they take the locks: if they planned first and waited then, the
        plan would not include the changes of the other run. Raises ``LockedError`` after ``wait`` seconds.
        """
        if self.wait:
            with self.locked(doing):
                pass
        return replace(self, wait=0)

    @contextmanager
    def _locks(self, doing: str) -> Iterator[list[AdvisoryLock]]:
        with ExitStack() as stack:
            state_dir, now = self.config.state_dir, self.clock()
            stack.enter_context(file_lock(self.own_store, state_dir, doing=doing, now=now))
            engines = (self.engine(alias) for alias in self.config.databases)
            primary = next((item for item in engines if item.supports(Capability.LOCK)), None)
            held = []
            if primary:
                try:
                    session = stack.enter_context(primary.lock_session())
                except DatabaseError as error:
                    note = f"No lock on the database server, so only this host is locked: {error}"
                    self.progress.note(note)
                else:
                    held.append(AdvisoryLock(session, self.own_store, doing=f"{doing} of {self.config.host}"))
            yield held


@contextmanager
def open_context(
    *,
    progress: Progress | None = None,
    writing: bool = False,
    storage_alias: str = STORAGE_ALIAS,
    wait: float = 0,
    clock: Callable[[], datetime] = utc_now,
    token: Callable[[], str] = random_token,
) -> Iterator[BackupContext]:
    """Check the settings and open the storage; yield the context of one command or task.

    ``writing``: the operation stores backups, so encryption is checked too. ``storage_alias`` is the entry of
    ``STORAGES`` to read from. The other arguments are fields of the context.

    Raises :class:`~igny8_backup.conf.ConfigurationError`; :class:`RefusedError` if DEBUG is off and a
    database is SQLite, if the storage is missing or served to the public, or if folders overlap;
    :class:`UsageError` if ``STORAGES`` has no entry ``storage_alias``.
    """
    config = get_config()
    for alias in config.databases:
        guard_sqlite(alias, config)
    if storage_alias != STORAGE_ALIAS and not preconditions.has_storage(storage_alias):
        what = f"STORAGES has no {storage_alias!r}."
        hint = f'Add it, like STORAGES[{STORAGE_ALIAS!r}]: see "Store backups in S3" in the documentation.'
        raise UsageError(what, unchanged="Nothing was read or written.", hint=hint)
    problems = preconditions.storage_problems(config, storage_alias) + preconditions.folder_problems(config)
    problems += preconditions.encryption_problems(config) if writing else []
    storage = preconditions.find_storage(config, storage_alias)
    if problems or isinstance(storage, Problem):
        problem = storage if isinstance(storage, Problem) else problems[0]
        raise RefusedError(problem.message, unchanged="Nothing was read or written.", hint=problem.hint)
    shown = progress or NullProgress()
    if not preconditions.has_storage(storage_alias):
        shown.note(preconditions.debug_storage_note())
    if writing and config.encryption is not None and not config.recipients:
        shown.note(
            "No recipient is set: with DEBUG on, backups are stored unencrypted. Run generate_backup_key to"
            " encrypt them."
        )
    preconditions.make_home(config)
    codec = Codec(level=config.compression_level, recipients=config.recipients)
    home = storage if storage_alias == STORAGE_ALIAS else preconditions.find_storage(config)
    with ExitStack() as stack:
        store = stack.enter_context(open_store(storage, config.prefix))
        own = store
        if home is not storage and not isinstance(home, Problem):
            own = stack.enter_context(open_store(home, config.prefix))
        yield BackupContext(config, store, own, codec, shown, clock, token, wait)
