"""Back up databases, then trees; store the details of the backup, and its manifest last.

:func:`run_backup` is the entry point.
"""

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
    SCHEMA,
    STOPPED,
    DatabasePart,
    Manifest,
    TreePart,
)
from igny8_backup.locks import AdvisoryLock
from igny8_backup.operations.backup import parent_index
from igny8_backup.operations.backup.database import backup_database
from igny8_backup.operations.backup.request import BackupRequest, BackupResult
from igny8_backup.operations.backup.run_record import RunRecorder, find_redelivery
from igny8_backup.operations.backup.tree import backup_tree
from igny8_backup.operations.clock_skew import future_date_note
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.secret_key import fingerprint
from igny8_backup.signals import BACKUP, announced
from igny8_backup.streams.pipeline import from_bytes

logger = logging.getLogger(__name__)


def run_backup(context: BackupContext, request: BackupRequest) -> BackupResult:
    """Back up the databases and trees of ``request`` as one backup with a new id.

    If a database or tree fails, its failure is recorded and the next one is backed up. If all fail, no
    manifest is written and the first error is raised. Raises ``LockedError`` while another run holds the
    lock, ``UsageError`` for an empty request or an unprintable label.
    """
    if not (request.databases or request.trees):
        hint = "Add a database or tree to IGNY8_BACKUP['DATABASES'], SITES or LOGS."
        raise UsageError("There is nothing to back up.", unchanged="Nothing was read or written.", hint=hint)
    if not request.label.isprintable():
        what = "The label contains characters that cannot be printed."
        hint = "Use letters, digits, spaces and punctuation only."
        raise UsageError(what, unchanged="Nothing was read or written.", hint=hint)
    with ExitStack() as stack:
        try:
            locks = stack.enter_context(context.locked("a backup"))
        except LockedError:
            # The run that holds the lock may be an earlier delivery of this very task.
            if run := find_redelivery(context, request.task_id, locked=False):
                return BackupResult(id=run.id, manifest=None, earlier=run)
            raise
        if run := find_redelivery(context, request.task_id, locked=True):
            return BackupResult(id=run.id, manifest=None, earlier=run)
        return _Run(context, request).run(locks)


class _Run:
    """The state of one run: the databases and trees that are done, their details, and the errors."""

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
        self.record = RunRecorder(context, request, self.id, self.started)

    def run(self, locks: list[AdvisoryLock]) -> BackupResult:
        self.record.claim_id()
        try:
            self.check_existing_ids()
            for alias in self.request.databases:
                self.back_up_database(alias)
            for name in self.request.trees:
                self.back_up_tree(name)
            self.check_packs()
            with announced(BACKUP, "manifest", (self.id,)):
                manifest = self.write_manifest(locks)
        except KeyboardInterrupt:
            self.record.finish(STOPPED, self.errors)
            raise
        except BaseException as error:
            if isinstance(error, BackupError):
                error.add_context("No backup was recorded.")
            if error not in self.errors.values():
                self.errors["run"] = error if isinstance(error, BackupError) else _unexpected(error)
            self.record.finish(FAILED, self.errors)
            raise
        skipped = tuple(self.skipped)
        result = BackupResult(id=self.id, manifest=manifest, errors=dict(self.errors), skipped=skipped)
        self.record.finish(COMPLETE if result.complete else INCOMPLETE, self.errors)
        return result

    def check_existing_ids(self) -> None:
        """Check that no backup has the id of this run, and note if the newest backup is dated in the future.

        The run record has reserved the id, but the record of an earlier backup may have been deleted.
        """
        ids = set(filter(keys.is_id, self.context.store.list_dirs(keys.BACKUPS)))
        if self.id in ids:
            what = f"A backup {self.id} already exists in {self.context.store.describe()}."
            hint = "Start the backup again: each run writes under an id of its own."
            raise StorageError(what, unchanged="The existing backup was not changed.", hint=hint)
        if note := future_date_note(max(ids, default=""), self.started):
            self.context.progress.note(note)

    def back_up_database(self, alias: str) -> None:
        """Back up one database; record its failure instead of raising it."""
        engine = self.context.engine(alias)
        what, started = f"database {alias}", self.context.clock()
        part = DatabasePart(
            alias=alias, engine=engine.vendor, state=FAILED, started=started, finished=started
        )
        try:
            with (
                announced(BACKUP, what, (self.id,)),
                self.context.observe(
                    what, reason=engine.blocking_sessions, heartbeat=self.record.renew_heartbeat
                ) as observer,
            ):
                part, details, probe_error = backup_database(self.context, self.id, part, observer)
            self.details.append(details)
            if probe_error:
                self.record_failure(f"probes of {alias}", probe_error)
        except Exception as error:
            part = replace(part, error=self.record_failure(alias, error))
        self.databases.append(replace(part, finished=self.context.clock()))

    def back_up_tree(self, name: str) -> None:
        """Back up one tree; record its failure instead of raising it."""
        config = self.context.config
        role, root = ("sites", config.sites[name]) if name in config.sites else ("logs", config.logs[name])
        what, started = f"files {name}", self.context.clock()
        part = TreePart(name=name, role=role, state=FAILED, started=started, finished=started)
        try:
            with (
                announced(BACKUP, what, (self.id,)),
                self.context.observe(what, heartbeat=self.record.renew_heartbeat) as observer,
            ):
                part, skipped = backup_tree(self.context, self.id, part, root, self.request, observer)
            self.skipped += skipped
        except Exception as error:
            part = replace(part, error=self.record_failure(name, error))
        self.trees.append(replace(part, finished=self.context.clock()))

    def record_failure(self, name: str, error: Exception) -> str:
        """Record the error of the database or tree ``name``; return the name of its class.

        Unexpected errors do not end the run either: the other databases and trees are still backed up.
        """
        if not isinstance(error, BackupError):
            logger.exception("Unexpected failure of %s", name)
        self.errors[name] = error if isinstance(error, BackupError) else _unexpected(error)
        return type(error).__name__

    def check_packs(self) -> None:
        """Check that storage still has the packs (tar archives) of earlier backups that this backup needs.

        If one was deleted during the run, the tree that needs it is recorded as failed.
        """
        for number, part in enumerate(self.trees):
            if lost := parent_index.lost_pack(self.context, part):
                error = StorageError(
                    f"The pack {lost}, which holds files of {part.name!r}, disappeared from storage during"
                    " this backup. The earlier backups that need it are damaged.",
                    unchanged="The other parts of this backup are not affected.",
                    hint=f"Store every file again: python manage.py backup_sites {part.name} --full.",
                )
                self.trees[number] = replace(part, state=FAILED, error=self.record_failure(part.name, error))

    def write_manifest(self, locks: list[AdvisoryLock]) -> Manifest:
        """Store the details, then the manifest. A backup exists only once its manifest exists."""
        parts: list[DatabasePart | TreePart] = [*self.databases, *self.trees]
        if not any(part.state == COMPLETE for part in parts):
            first, *rest = self.errors.items()
            for name, error in rest:
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
        details_key = keys.details_key(self.id, self.context.codec.suffix)
        stored = self.context.upload(details_key, claimed=True).send(from_bytes(records.to_json(details)))
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
        self.record.expect_manifest(data)
        # put() never replaces another manifest and removes this one if it fails; put_small() would not.
        self.context.store.put(keys.manifest_key(self.id), from_bytes(data))
        return manifest


def _unexpected(error: BaseException) -> BackupError:
    return BackupError(
        f"Unexpected {type(error).__name__}: {error}.",
        hint="This is a fault of igny8_backup: report it with the traceback in the log.",
    )
