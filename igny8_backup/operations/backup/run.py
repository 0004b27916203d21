"""One run: databases first, trees after, one id; details, then the manifest last (law 1)."""

from __future__ import annotations

import logging
import platform
from contextlib import ExitStack
from dataclasses import replace

import django
from django.conf import settings

import igny8_backup
from igny8_backup.errors import BackupError, LockedError, StorageError, UsageError
from igny8_backup.formats import keys, records
from igny8_backup.formats.details import DatabaseDetails, Details, Skipped
from igny8_backup.formats.manifest import (
    COMPLETE,
    FAILED,
    INCOMPLETE,
    RUNNING,
    SCHEMA,
    STOPPED,
    DatabasePart,
    Manifest,
    RunRecord,
    TreePart,
)
from igny8_backup.locks import AdvisoryLock
from igny8_backup.operations.backup import parent_index
from igny8_backup.operations.backup.database import backup_database
from igny8_backup.operations.backup.deliveries import find_redelivery
from igny8_backup.operations.backup.request import BackupRequest, BackupResult
from igny8_backup.operations.backup.run_record import RunKeeper
from igny8_backup.operations.backup.tree import backup_tree
from igny8_backup.operations.clock_skew import dated_ahead
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.secret_key import fingerprint
from igny8_backup.signals import BACKUP, announced
from igny8_backup.streams.pipeline import from_bytes

logger = logging.getLogger(__name__)


def run_backup(context: BackupContext, request: BackupRequest) -> BackupResult:
    """Backs up what is asked for.

    A part that fails is recorded as failed and the others go on. Raises the part's own error when no part is
    complete (then no manifest is written), ``LockedError`` when another run is under way, ``UsageError`` when
    nothing was asked for.
    """
    if not (request.databases or request.trees):
        raise UsageError(
            "There is nothing to back up.",
            unchanged="Nothing was read or written.",
            hint="Name something in IGNY8_BACKUP['DATABASES'], SITES or LOGS.",
        )
    if not request.label.isprintable():
        raise UsageError(
            "The label holds characters that cannot be printed.", unchanged="Nothing was written."
        )
    with ExitStack() as stack:
        try:
            locks = stack.enter_context(context.locked("a backup"))
        except LockedError:
            # The holder may be this very task, delivered before: then this delivery has nothing to do.
            if run := find_redelivery(context, request.task_id, locked=False):
                return BackupResult(id=run.id, manifest=None, earlier=run)
            raise
        if run := find_redelivery(context, request.task_id, locked=True):
            return BackupResult(id=run.id, manifest=None, earlier=run)
        return _Run(context, request).run(locks)


class _Run:
    def __init__(self, context: BackupContext, request: BackupRequest) -> None:
        self.context = context
        self.request = request
        self.started = context.clock()
        token = keys.task_token(request.task_id) if request.task_id else context.token()
        self.id = keys.make_id(self.started, token)
        self.databases: list[DatabasePart] = []
        self.trees: list[TreePart] = []
        self.details: list[DatabaseDetails] = []
        self.skipped: list[Skipped] = []
        self.errors: dict[str, BackupError] = {}
        self.record = RunKeeper(
            context,
            RunRecord(
                schema=SCHEMA,
                id=self.id,
                host=context.config.host,
                environment=context.config.environment,
                label=request.label,
                requested=(*request.databases, *request.trees),
                started=self.started,
                heartbeat=self.started,
                outcome=RUNNING,
                task_id=request.task_id,
            ),
        )

    def run(self, locks: list[AdvisoryLock]) -> BackupResult:
        self.record.claim()
        try:
            self.look_at_other_ids()
            for alias in self.request.databases:
                self.back_up_database(alias)
            for name in self.request.trees:
                self.back_up_tree(name)
            self.check_packs()
            with announced(BACKUP, "manifest", (self.id,)):
                manifest = self.write_manifest(locks)
        except KeyboardInterrupt:
            self.record.end(STOPPED, self.errors)
            raise
        except BaseException as error:
            if isinstance(error, BackupError):
                error.add_context("No backup was recorded.")
            if error not in self.errors.values():
                self.errors["run"] = error if isinstance(error, BackupError) else _unexpected(error)
            self.record.end(FAILED, self.errors)
            raise
        result = BackupResult(
            id=self.id, manifest=manifest, errors=dict(self.errors), skipped=tuple(self.skipped)
        )
        self.record.end(COMPLETE if result.whole else INCOMPLETE, self.errors)
        return result

    def back_up_database(self, alias: str) -> None:
        started = self.context.clock()
        part = DatabasePart(
            alias=alias,
            engine=self.context.engine(alias).vendor,
            state=FAILED,
            started=started,
            finished=started,
        )
        try:
            with announced(BACKUP, f"database {alias}", (self.id,)):
                part, details, unanswered = backup_database(
                    self.context, self.id, part, on_bytes=self.on_bytes
                )
            self.details.append(details)
            if unanswered:
                self.failed(f"probes of {alias}", unanswered)
        except Exception as error:
            part = replace(part, error=self.failed(alias, error))
        finally:
            self.context.progress.end()
        self.databases.append(replace(part, finished=self.context.clock()))

    def back_up_tree(self, name: str) -> None:
        config = self.context.config
        role, root = ("sites", config.sites[name]) if name in config.sites else ("logs", config.logs[name])
        started = self.context.clock()
        part = TreePart(name=name, role=role, state=FAILED, started=started, finished=started)
        try:
            with announced(BACKUP, f"files {name}", (self.id,)):
                part, skipped = backup_tree(
                    self.context, self.id, part, root, self.request.reading, on_progress=self.on_bytes
                )
            self.skipped += skipped
        except Exception as error:
            part = replace(part, error=self.failed(name, error))
        finally:
            self.context.progress.end()
        self.trees.append(replace(part, finished=self.context.clock()))

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
            if lost := parent_index.lost_pack(self.context, part):
                error = StorageError(
                    f"{lost}, which holds files of {part.name!r}, went from storage during this backup.",
                    unchanged="The earlier backups that need it are damaged.",
                    hint=f"Store every file again: python manage.py backup_sites {part.name} --full.",
                )
                self.trees[number] = replace(part, state=FAILED, error=self.failed(part.name, error))

    def write_manifest(self, locks: list[AdvisoryLock]) -> Manifest:
        parts: list[DatabasePart | TreePart] = [*self.databases, *self.trees]
        if not any(part.state == COMPLETE for part in parts):
            first, *others = self.errors.items()
            for name, error in others:
                self.context.progress.note(f"{name} FAILED: {error}")
            raise first[1]
        details = Details(
            schema=SCHEMA,
            id=self.id,
            secret_key_fingerprint=fingerprint(settings.SECRET_KEY, self.id),
            databases=tuple(self.details),
            skipped=tuple(self.skipped),
            errors={name: str(error) for name, error in self.errors.items()},
        )
        stored = self.context.upload(
            keys.details_key(self.id, self.context.codec.suffix),
            from_bytes(records.to_json(details)),
            claimed=True,
        )
        manifest = Manifest(
            schema=SCHEMA,
            id=self.id,
            host=self.context.config.host,
            environment=self.context.config.environment,
            label=self.request.label,
            started=self.started,
            finished=self.context.clock(),
            requested=(*self.request.databases, *self.request.trees),
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
        self.record.promise(data)
        # Never in the place of another, and gone again if it fails: put_small promises neither.
        self.context.store.put(keys.manifest_key(self.id), from_bytes(data))
        return manifest

    def on_bytes(self, amount: int, files: int = 0) -> None:
        """Bytes have passed: tells the progress, and now and then renews the heartbeat."""
        self.context.progress.advance(amount, files)
        self.record.beat()

    def look_at_other_ids(self) -> None:
        """What they tell of the clock; and that none of them is ours: the record that claims it was free, but
        somebody may have removed that of an earlier backup."""
        ids = set(filter(keys.is_id, self.context.store.list_dirs(keys.BACKUPS)))
        if self.id in ids:
            raise StorageError(
                f"A backup {self.id} is already in {self.context.store.describe()}.",
                unchanged="It was left as it is.",
                hint="Start the backup again: each run writes under an id of its own.",
            )
        if note := dated_ahead(max(ids, default=""), self.started):
            self.context.progress.note(note)


def _unexpected(error: BaseException) -> BackupError:
    return BackupError(
        f"Unexpected {type(error).__name__}: {error}.",
        hint="This is a fault of igny8_backup: report it with the traceback in the log.",
    )
