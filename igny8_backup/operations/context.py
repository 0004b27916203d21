"""Turns the configuration into the objects that operations work with."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from igny8_backup.catalog import Catalog
from igny8_backup.conf import STORAGE_ALIAS, Config, Problem, get_config
from igny8_backup.databases.engine import Capability, Engine
from igny8_backup.databases.registry import guard_sqlite, make_engine
from igny8_backup.errors import (
    DatabaseError,
    IdentityError,
    IntegrityError,
    RefusedError,
    UsageError,
)
from igny8_backup.formats.manifest import StoredObject
from igny8_backup.journal import Journals
from igny8_backup.locks import AdvisoryLock, file_lock
from igny8_backup.operations import preconditions
from igny8_backup.operations.lock_wait import retry_until
from igny8_backup.operations.progress import NullProgress, Progress
from igny8_backup.operations.upload import Encoding
from igny8_backup.store import Store, open_store
from igny8_backup.streams import Blocks, Views
from igny8_backup.streams.age import Identity, load_identities
from igny8_backup.streams.observe import verified
from igny8_backup.streams.pipeline import Codec, decode


def utc_now() -> datetime:
    return datetime.now(UTC)


def random_token() -> str:
    return secrets.token_hex(3)


@dataclass(frozen=True, kw_only=True)
class BackupContext:
    """What every operation needs. ``clock`` and ``token`` are parameters so that tests can set them.

    ``own_store`` is the project's own, ``store`` the one to read from, mostly the same: whatever is read,
    the runs that must not meet are those of this project.
    """

    config: Config
    store: Store
    own_store: Store
    codec: Codec
    progress: Progress = field(default_factory=NullProgress)
    clock: Callable[[], datetime] = utc_now
    token: Callable[[], str] = random_token
    wait: float = 0
    """Seconds to wait for a lock that another run holds."""

    @property
    def catalog(self) -> Catalog:
        return Catalog(self.store)

    @property
    def journals(self) -> Journals:
        return Journals(self.config.state_dir)

    def engine(self, alias: str) -> Engine:
        return make_engine(alias, self.config)

    @property
    def files_codec(self) -> Codec:
        """How what belongs to a tree is written."""
        return replace(self.codec, level=self.config.files_compression_level)

    def upload(
        self,
        key: str,
        blocks: Views,
        *,
        codec: Codec | None = None,
        estimate: int | None = None,
        on_bytes: Callable[[int], None] | None = None,
        claimed: bool = False,
        through: Path | None = None,
    ) -> StoredObject:
        """Encodes and stores ``blocks`` under ``key``; ``on_bytes`` hears of raw bytes as they pass.

        ``claimed`` is for ``Store.put``. ``through`` is a private folder: what is stored first goes into a
        file without a name there, and the storage knows its length; ``OSError`` if that cannot be written.
        """
        encoding = Encoding(blocks, codec or self.codec, on_bytes)
        if through is None:
            self.store.put(key, encoding.blocks, estimate=estimate, claimed=claimed)
        else:
            with closing(encoding.blocks), tempfile.TemporaryFile(dir=through) as file:
                file.writelines(encoding.blocks)
                self.store.put_file(key, file, claimed=claimed)
        return encoding.stored_as(key)

    def download(self, item: StoredObject, identities: list[Identity]) -> Blocks:
        """The raw bytes of a stored object; raises ``IntegrityError`` when it is not what was written."""
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
            # Where decryption or decompression stumbles first, it does not know over which object.
            what = str(error) if item.key in str(error) else f"{item.key}: {error}"
            raise IntegrityError(
                what, unchanged="Nothing live was changed.", hint="Choose another backup: list_backups."
            ) from None

    def identities(self, chosen: Path | None, *, needed: bool) -> list[Identity]:
        """The identities in ``chosen``, else in ``IDENTITY_FILE``. Raises :class:`IdentityError` when one is
        ``needed`` and none is named."""
        encryption = self.config.encryption
        path = chosen or (encryption.identity_file if encryption else None)
        if path:
            return load_identities(path)
        if needed:
            raise IdentityError(
                "The backup is encrypted and no identity is given.",
                unchanged="Nothing was changed.",
                hint="Give the file that generate_backup_key wrote: --identity FILE.",
            )
        return []

    @contextmanager
    def locked(self, doing: str) -> Iterator[list[AdvisoryLock]]:
        """Holds the locks and gives the advisory ones: none where no PostgreSQL answers, then the file lock
        must do. Raises ``LockedError``, after ``wait`` seconds."""
        with retry_until(lambda: self._locks(doing), self.wait, self.progress) as held:
            yield held

    def when_free(self, doing: str) -> BackupContext:
        """The toolkit when nobody holds the locks any more, for which it has waited now and will not again.

        For what is planned, shown and agreed to before the locks are taken: a plan that is made before the
        waiting is one of what was there before the other run. Raises ``LockedError`` after ``wait`` seconds.
        """
        if self.wait:
            with self.locked(doing):
                pass
        return replace(self, wait=0)

    @contextmanager
    def _locks(self, doing: str) -> Iterator[list[AdvisoryLock]]:
        with ExitStack() as stack:
            stack.enter_context(
                file_lock(self.own_store, self.config.state_dir, doing=doing, now=self.clock())
            )
            engines = (self.engine(alias) for alias in self.config.databases)
            primary = next((item for item in engines if item.supports(Capability.LOCK)), None)
            held = []
            if primary:
                try:
                    session = stack.enter_context(primary.lock_session())
                except DatabaseError as error:
                    self.progress.note(f"No lock on the database server, only this host is locked: {error}")
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
    """The toolkit for the settings as they are. ``writing`` asks for all that a backup needs;
    ``storage_alias`` is the storage to read from, if it is not the project's own; ``wait`` is how many
    seconds to wait for a lock.

    Raises :class:`~igny8_backup.conf.ConfigurationError`, and :class:`RefusedError` for SQLite outside DEBUG
    (law 10), a storage that is missing or served, folders in one another, and, when ``writing``, for missing
    encryption; :class:`UsageError` for another storage that ``STORAGES`` does not have.
    """
    config = get_config()
    for alias in config.databases:
        guard_sqlite(alias, config)
    if storage_alias != STORAGE_ALIAS and not preconditions.has_storage(storage_alias):
        raise UsageError(
            f"STORAGES has no {storage_alias!r}.",
            unchanged="Nothing was read or written.",
            hint=f'Add it, like STORAGES[{STORAGE_ALIAS!r}]: see "Store backups in S3" in the documentation.',
        )
    found = preconditions.storage_problems(config, storage_alias) + preconditions.folder_problems(config)
    found += preconditions.encryption_problems(config) if writing else []
    if found:
        raise _refusal(found[0])
    storage = preconditions.find_storage(config, storage_alias)
    if isinstance(storage, Problem):
        raise _refusal(storage)
    shown = progress or NullProgress()
    if not preconditions.has_storage(storage_alias):
        shown.note(f"STORAGES has no 'dbbackup': in DEBUG backups go to {preconditions.default_folder()}.")
    if writing and config.encryption is not None and not config.recipients:
        shown.note("No recipient is set: in DEBUG backups are stored unencrypted. See generate_backup_key.")
    preconditions.make_home(config)
    codec = Codec(level=config.compression_level, recipients=config.recipients)
    home = storage if storage_alias == STORAGE_ALIAS else preconditions.find_storage(config)
    with ExitStack() as stack:
        store = stack.enter_context(open_store(storage, config.prefix))
        own = store
        if home is not storage and not isinstance(home, Problem):
            own = stack.enter_context(open_store(home, config.prefix))
        yield BackupContext(
            config=config,
            store=store,
            own_store=own,
            codec=codec,
            progress=shown,
            clock=clock,
            token=token,
            wait=wait,
        )


def _refusal(problem: Problem) -> RefusedError:
    return RefusedError(problem.message, unchanged="Nothing was read or written.", hint=problem.hint)
