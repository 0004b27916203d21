"""One run: databases first, trees after, one id; details, then the manifest last (law 1)."""

from __future__ import annotations

import hashlib
import logging
import platform
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import django
from django.conf import settings

import igny8_backup
from igny8_backup import keys, records
from igny8_backup.errors import BackupError, LockedError, StorageError, UsageError
from igny8_backup.locks import AdvisoryLock
from igny8_backup.manifest import (
    COMPLETE,
    FAILED,
    HEARTBEAT,
    INCOMPLETE,
    RUNNING,
    SCHEMA,
    STOPPED,
    DatabaseDetails,
    DatabasePart,
    Details,
    Manifest,
    RunRecord,
    Skipped,
    TreePart,
)
from igny8_backup.operations import tree_state
from igny8_backup.operations.assembly import Toolkit
from igny8_backup.operations.backup_tree import TreeRequest, backup_tree
from igny8_backup.operations.clocks import dated_ahead
from igny8_backup.operations.fingerprint import fingerprint
from igny8_backup.operations.stalls import Watch
from igny8_backup.streams.pipeline import from_bytes

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class BackupRequest:
    """Which databases (aliases) and trees (names) to back up, and how much of those trees is read.
    ``task_id`` makes a queued task run once."""

    databases: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    reading: TreeRequest = TreeRequest()
    label: str = ""
    task_id: str = ""


@dataclass(frozen=True, kw_only=True)
class BackupResult:
    """What a run did. ``manifest`` is ``None`` when an ``earlier`` delivery of the task had done it."""

    id: str
    manifest: Manifest | None
    errors: dict[str, BackupError] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    earlier: RunRecord | None = None

    @property
    def whole(self) -> bool:
        """Whether all that was asked for is in the backup."""
        return not self.errors and not any(item.failure for item in self.skipped)


def run_backup(kit: Toolkit, request: BackupRequest) -> BackupResult:
    """Backs up what is asked for.

    A part that fails is recorded as failed and the others go on. Raises the part's own error when no part is
    complete (then no manifest is written), ``LockedError`` when another run is under way, ``UsageError`` when
    nothing was asked for.
    """
    if not (request.databases or request.trees):
        raise UsageError(
            "There is nothing to back up.",
            untouched="Nothing was read or written.",
            fix="Name something in IGNY8_BACKUP['DATABASES'], SITES or LOGS.",
        )
    if not request.label.isprintable():
        raise UsageError(
            "The label holds characters that cannot be printed.", untouched="Nothing was written."
        )
    with ExitStack() as stack:
        try:
            locks = stack.enter_context(kit.locked("a backup"))
        except LockedError:
            # The holder may be this very task, delivered before: then this delivery has nothing to do.
            earlier = _earlier(kit, request)
            if earlier and (earlier.outcome not in (RUNNING, STOPPED) or earlier.is_alive(kit.clock())):
                return BackupResult(id=earlier.id, manifest=None, earlier=earlier)
            raise
        earlier = _earlier(kit, request)
        # With the lock in our hands a run that never ended is one that died: its work is still to do.
        if earlier and earlier.outcome not in (RUNNING, STOPPED):
            return BackupResult(id=earlier.id, manifest=None, earlier=earlier)
        return _Run(kit, request).run(locks)


def _earlier(kit: Toolkit, request: BackupRequest) -> RunRecord | None:
    """The run that an earlier delivery of the same task made."""
    place = kit.store.local_path()
    if not request.task_id or (place is not None and not place.exists()):
        return None  # the first backup of all makes the folder that holds them
    return kit.catalog.run_of_task(request.task_id)


class _Run:
    def __init__(self, kit: Toolkit, request: BackupRequest) -> None:
        self.kit = kit
        self.request = request
        self.started = kit.clock()
        token = keys.task_token(request.task_id) if request.task_id else kit.token()
        self.id = keys.make_id(self.started, token)
        self.databases: list[DatabasePart] = []
        self.trees: list[TreePart] = []
        self.details: list[DatabaseDetails] = []
        self.skipped: list[Skipped] = []
        self.errors: dict[str, BackupError] = {}
        self.record = RunRecord(
            schema=SCHEMA,
            id=self.id,
            host=kit.config.host,
            environment=kit.config.environment,
            label=request.label,
            requested=(*request.databases, *request.trees),
            started=self.started,
            heartbeat=self.started,
            outcome=RUNNING,
            task_id=request.task_id,
        )

    def run(self, locks: list[AdvisoryLock]) -> BackupResult:
        self.claim()
        try:
            self.look_at_the_clock()
            for alias in self.request.databases:
                self.back_up_database(alias)
            for name in self.request.trees:
                self.back_up_tree(name)
            self.check_packs()
            manifest = self.write_manifest(locks)
        except KeyboardInterrupt:
            self.end(STOPPED)
            raise
        except BaseException as error:
            if isinstance(error, BackupError):
                error.assure("No backup was recorded.")
            if error not in self.errors.values():
                self.errors["run"] = error if isinstance(error, BackupError) else _unexpected(error)
            self.end(FAILED)
            raise
        result = BackupResult(
            id=self.id, manifest=manifest, errors=dict(self.errors), skipped=tuple(self.skipped)
        )
        self.end(COMPLETE if result.whole else INCOMPLETE)
        return result

    def back_up_database(self, alias: str) -> None:
        started = self.kit.clock()
        engine = self.kit.engine(alias)
        watch = Watch(
            f"database {alias}",
            self.kit.progress,
            seconds=self.kit.config.stall_seconds,
            reason=engine.held_up_by,
        )
        part = DatabasePart(
            alias=alias, engine=engine.engine, state=FAILED, started=started, finished=started
        )
        try:
            with watch:
                watch.wait_for("the database server")
                versions = engine.versions()
                details = engine.describe(self.kit.config.exclude_table_data.get(alias, ()))
                key = keys.database_key(self.id, alias, engine.dump_kind, self.kit.codec.suffix)
                self.kit.progress.begin(f"database {alias}", details.size)
                dump = watch.through(engine.dump(details), source="the dump", sink="the storage")
                stored = self.kit.upload(key, dump, estimate=details.size, on_bytes=self.on_bytes)
                watch.wait_for("the database server")
                kept = set(engine.describe(()).tables)
            # A table made or dropped while the dump ran may or may not be in it: it is not promised.
            self.details.append(
                replace(details, tables=tuple(name for name in details.tables if name in kept))
            )
            part = replace(
                part,
                state=COMPLETE,
                object=stored,
                server_version=versions.server,
                dump_version=versions.tool,
            )
        except Exception as error:
            part = replace(part, error=self.failed(alias, error))
        finally:
            self.kit.progress.end()
        self.databases.append(replace(part, finished=self.kit.clock()))

    def back_up_tree(self, name: str) -> None:
        config = self.kit.config
        role, root = ("sites", config.sites[name]) if name in config.sites else ("logs", config.logs[name])
        started = self.kit.clock()
        part = TreePart(name=name, role=role, state=FAILED, started=started, finished=started)
        self.kit.progress.begin(f"files {name}", None)
        try:
            part, skipped = backup_tree(
                self.kit, self.id, part, root, self.request.reading, on_bytes=self.on_bytes
            )
            self.skipped += skipped
        except Exception as error:
            part = replace(part, error=self.failed(name, error))
        finally:
            self.kit.progress.end()
        self.trees.append(replace(part, finished=self.kit.clock()))

    def failed(self, name: str, error: Exception) -> str:
        """Takes down that a part failed, whatever it failed of: the others must not be lost with it."""
        if not isinstance(error, BackupError):
            logger.exception("Unexpected failure of %s", name)
        self.errors[name] = error if isinstance(error, BackupError) else _unexpected(error)
        return type(error).__name__

    def check_packs(self) -> None:
        """Looks the packs of earlier backups up again, just before the manifest names them: somebody may have
        removed one meanwhile. A tree that lacks one has failed."""
        for number, part in enumerate(self.trees):
            if part.state != COMPLETE or part.full:
                continue
            stored = tree_state.stored_packs(self.kit, part.name)
            sizes = {pack.key: pack.stored_bytes for pack in part.packs}
            lost = [key for key, size in sizes.items() if stored.get(keys.pack_of(key)) != size]
            if lost:
                error = StorageError(
                    f"{lost[0]}, which holds files of {part.name!r}, went from storage during this backup.",
                    untouched="The earlier backups that need it are damaged.",
                    fix=f"Store every file again: python manage.py backup_sites {part.name} --full.",
                )
                self.trees[number] = replace(part, state=FAILED, error=self.failed(part.name, error))

    def write_manifest(self, locks: list[AdvisoryLock]) -> Manifest:
        parts: list[DatabasePart | TreePart] = [*self.databases, *self.trees]
        if not any(part.state == COMPLETE for part in parts):
            first, *others = self.errors.items()
            for name, error in others:
                self.kit.progress.note(f"{name} FAILED: {error}")
            raise first[1]
        details = Details(
            schema=SCHEMA,
            id=self.id,
            secret_key_fingerprint=fingerprint(settings.SECRET_KEY, self.id),
            databases=tuple(self.details),
            skipped=tuple(self.skipped),
            errors={name: str(error) for name, error in self.errors.items()},
        )
        stored = self.kit.upload(
            keys.details_key(self.id, self.kit.codec.suffix), from_bytes(records.to_json(details))
        )
        manifest = Manifest(
            schema=SCHEMA,
            id=self.id,
            host=self.kit.config.host,
            environment=self.kit.config.environment,
            label=self.request.label,
            started=self.started,
            finished=self.kit.clock(),
            requested=self.record.requested,
            software={
                "igny8_backup": igny8_backup.__version__,
                "python": platform.python_version(),
                "django": django.get_version(),
            },
            details=stored,
            databases=tuple(self.databases),
            trees=tuple(self.trees),
        )
        for lock in locks:
            lock.check()
        data = records.to_json(manifest)
        self.record = replace(self.record, manifest_sha256=hashlib.sha256(data).hexdigest())
        # Never in the place of another, and gone again if it fails: put_small promises neither.
        self.kit.store.put(keys.manifest_key(self.id), from_bytes(data))
        return manifest

    def on_bytes(self, amount: int) -> None:
        """Bytes have passed: tells the progress, and now and then renews the heartbeat."""
        self.kit.progress.advance(amount)
        if self.kit.clock() - self.record.heartbeat > HEARTBEAT:
            self.write_record()

    def claim(self) -> None:
        """Takes the id, which must be free: a clock set back, or a host that shares no lock with this one,
        can bring it up again, and nothing of that other run may be touched."""
        try:
            self.kit.store.put(keys.run_key(self.id), from_bytes(records.to_json(self.record)))
        except BackupError as error:
            error.assure("No backup was recorded.")
            raise

    def look_at_the_clock(self) -> None:
        ids = filter(keys.is_id, self.kit.store.list_dirs(keys.BACKUPS))
        if note := dated_ahead(max(ids, default=""), self.started):
            self.kit.progress.note(note)

    def write_record(self) -> None:
        self.record = replace(self.record, heartbeat=self.kit.clock())
        self.kit.store.put_small(keys.run_key(self.id), records.to_json(self.record))

    def end(self, outcome: str) -> None:
        """The last word of the run. A storage that is gone is passed over: it must not hide the cause."""
        kinds = {name: type(error).__name__ for name, error in self.errors.items()}
        self.record = replace(self.record, outcome=outcome, finished=self.kit.clock(), errors=kinds)
        try:
            self.write_record()
        except BackupError as error:
            self.kit.progress.note(f"The record of the run could not be written: {error}")


def _unexpected(error: BaseException) -> BackupError:
    return BackupError(
        f"Unexpected {type(error).__name__}: {error}.",
        fix="This is a fault of igny8_backup: report it with the traceback in the log.",
    )
