"""Back up databases, then trees; store the details and the manifest last. Entry point: :func:`run_backup`."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import MISSING, fields, replace
from functools import partial
from typing import TypeVar

from igny8_backup.errors import BackupError, unexpected
from igny8_backup.formats import keys
from igny8_backup.formats.details import DatabaseDetails, Skipped, TreeDetails
from igny8_backup.formats.documents.run_record import RunRecord
from igny8_backup.formats.manifest import COMPLETE, FAILED, INCOMPLETE, Manifest
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.locks.host import HeldLock
from igny8_backup.operations.backup.chunked.dumps import ChunkedDumps, changed_error
from igny8_backup.operations.backup.database import backup_database
from igny8_backup.operations.backup.hooks import around_backup
from igny8_backup.operations.backup.lists import store_lists
from igny8_backup.operations.backup.locks import take_locks
from igny8_backup.operations.backup.make_way import YieldWatch, outcome_of_early_end, repeat_after_yield
from igny8_backup.operations.backup.object_locks import extend_locks
from igny8_backup.operations.backup.request import BackupRequest, BackupResult
from igny8_backup.operations.backup.run_record import RunRecorder
from igny8_backup.operations.backup.store_manifest import new_manifest, store_details, store_manifest
from igny8_backup.operations.backup.suspects import SizeCheck
from igny8_backup.operations.backup.trees.tree import backup_tree, lost_pack
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history import storage_memory
from igny8_backup.operations.history.table_counts import remember_tables
from igny8_backup.operations.installation import changed_defaults
from igny8_backup.signals import BACKUP, announced

P = TypeVar("P", DatabasePart, TreePart)

logger = logging.getLogger(__name__)


def run_backup(context: BackupContext, request: BackupRequest) -> BackupResult:
    """Back up the databases and trees of ``request`` as one backup with a new id.

    If a database or tree fails, its failure is recorded and the next one is backed up. If all fail, no
    manifest is written and the first error is raised. Raises ``LockedError`` if another run holds the lock
    for longer than ``context.wait``; ``YieldedError`` if another database session waited for the run, and if
    the backup, begun again, failed for the same reason; ``UsageError`` for an empty request or an unprintable
    label.
    """
    request.require_valid()
    return repeat_after_yield(context, lambda: _run_once(context, request))


def _run_once(context: BackupContext, request: BackupRequest) -> BackupResult:
    changes = changed_defaults.pending(context.config)  # before the lock leaves a trace of this run
    with ExitStack() as stack:
        locks = take_locks(stack, context, request)
        if isinstance(locks, RunRecord):
            return BackupResult(id=locks.id, manifest=None, earlier=locks)
        for change in changes:
            context.progress.note(f"Since this release: {change.text} {changed_defaults.DOCUMENTATION}")
        # Before anything is written: this may be an empty folder where a disk was mounted yesterday.
        run = _Run(context, request, storage_memory.warn_of_lost(context))
        stack.enter_context(run.chunked)
        stack.callback(run.record.stop_heartbeat)
        result = run.run(locks)
        changed_defaults.acknowledge(context.config)
        return result


class _Run:
    """The state of one run: the databases and trees that are done, their details, and the errors."""

    def __init__(
        self, context: BackupContext, request: BackupRequest, lost: tuple[storage_memory.LostBackup, ...]
    ) -> None:
        self.context = context
        self.request = request
        self.signing_key = context.load_signing_key()  # a wrong one must be noticed now, not after hours
        self.lost = lost
        self.started = context.clock()
        token = keys.task_token(request.task_id) if request.task_id else context.token()
        self.id = keys.make_id(self.started, token)
        self.databases: dict[str, DatabasePart] = {}
        self.trees: list[TreePart] = []
        self.details: dict[str, DatabaseDetails] = {}
        self.tree_details: list[TreeDetails] = []
        self.skipped: list[Skipped] = []
        self.errors: dict[str, BackupError] = {}
        self.chunked = ChunkedDumps(context, self.id, request)
        self.record = RunRecorder(context, request, self.id, self.started, lost, self.signing_key)

    def run(self, locks: list[HeldLock]) -> BackupResult:
        self.record.claim_id()
        try:
            self.record.prove_stored()
            self.record.keep_alive()
            self.record.check_existing_ids()
            self.sizes = SizeCheck(self.context, lost=bool(self.lost))
            with around_backup(self.context, self.request, self.id, self.errors, self.record):
                for alias in self.request.databases:
                    self.back_up_database(alias)
                for name in self.request.trees:
                    self.back_up_tree(name)
                self.check_packs()
                with announced(BACKUP, "manifest", (self.id,)):
                    manifest = self.write_manifest(locks)
        except BaseException as error:
            if outcome := outcome_of_early_end(error):
                self.record.finish(outcome, self.errors)
                raise
            known = error if isinstance(error, BackupError) else unexpected(error)
            known.add_context("No backup was recorded.")
            if error not in self.errors.values():
                self.errors["run"] = known
            self.record.finish(FAILED, self.errors)
            raise
        result = BackupResult(
            id=self.id,
            manifest=manifest,
            errors=dict(self.errors),
            skipped=tuple(self.skipped),
            trees=tuple(self.tree_details),
            suspects=self.sizes.find_suspects(manifest, self.details.values()),
            shortfalls=self.context.shortfalls.take(),
            lost=self.lost,
        )
        self.chunked.save_maps(manifest, {item.name for item in result.suspects})
        storage_memory.remember(self.context, self.id, self.lost)
        if not self.request.safety:  # spot_check compares live data with other backups only
            remember_tables(self.context, self.id, self.details.values())
        self.record.finish(COMPLETE if result.whole else INCOMPLETE, self.errors)
        return result

    def back_up_database(self, alias: str) -> None:
        """Back up one database; record its failure instead of raising it."""
        engine = self.context.engine(alias)
        what, started = f"database {alias}", self.context.clock()
        part = DatabasePart(
            alias=alias, engine=engine.vendor, state=FAILED, started=started, finished=started
        )
        self.details.pop(alias, None)
        try:
            with (
                announced(BACKUP, what, (self.id,)),
                self.context.observe(
                    what, reason=engine.blocking_sessions, heartbeat=self.record.renew_heartbeat
                ) as observer,
                YieldWatch(self.context, engine, observer, self.request),
            ):
                snapshot = partial(self.record.announce_snapshot, alias)
                part, details, probe_error = backup_database(
                    self.context, self.id, part, observer, self.chunked, self.sizes.damaged_keys, snapshot
                )
            self.details[alias] = details
            if probe_error:
                self.record_failure(f"probes of {alias}", probe_error)
        except Exception as error:
            part = replace(part, error=self.record_failure(alias, error))
        self.databases[alias] = replace(part, finished=self.context.clock())

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
                part, details, skipped = backup_tree(
                    self.context, self.id, part, root, self.request, observer, self.sizes
                )
            self.tree_details.append(details)
            self.skipped += skipped
        except Exception as error:
            part = replace(part, error=self.record_failure(name, error))
        self.trees.append(replace(part, finished=self.context.clock()))

    def record_failure(self, name: str, error: Exception) -> str:
        """Record the error of the database or tree ``name``; return the name of the error's class.

        Unexpected errors are recorded too, and the run goes on. A ``YieldedError`` is raised
        again, and so are exceptions from outside the run, such as the time limit of a Celery task.
        """
        if outcome_of_early_end(error):
            raise error
        if not isinstance(error, BackupError):
            logger.exception("Unexpected failure of %s", name)
        self.errors[name] = error if isinstance(error, BackupError) else unexpected(error)
        return type(error).__name__

    def check_packs(self) -> None:
        """Check that storage still has the packs of earlier backups that this backup needs.

        A database whose packs have changed is dumped again. A database or tree that still needs a changed
        pack is recorded as failed. The S3 locks of the other packs are extended.
        """
        changed = [alias for alias, part in self.databases.items() if self.chunked.changed_objects(part)]
        for alias in changed:
            self.back_up_database(alias)
        for alias, part in self.databases.items() if changed else ():
            error = changed_error(part, self.chunked.changed_objects(part))
            self.databases[alias] = self.checked(part, error)
        self.trees = [self.checked(part, lost_pack(self.context, part)) for part in self.trees]
        extend_locks(self.context, self.id, (*self.databases.values(), *self.trees), self.record_failure)

    def checked(self, part: P, error: BackupError | None) -> P:
        """Return ``part``. If there is an ``error``, record it and return ``part`` as failed.

        A failed part names no objects: verifications and copies would look for the missing ones.
        """
        if error is None:
            return part
        required = {
            item.name: getattr(part, item.name)
            for item in fields(part)
            if item.default is MISSING and item.default_factory is MISSING
        }
        failure = self.record_failure(part.name, error)
        return type(part)(**{**required, "state": FAILED, "error": failure})

    def write_manifest(self, locks: list[HeldLock]) -> Manifest:
        """Store the details, then the manifest. A backup exists only once its manifest exists."""
        databases = tuple(self.databases.values())
        if COMPLETE not in {part.state for part in databases} | {part.state for part in self.trees}:
            first, *rest = self.errors.items()
            for name, error in rest:
                self.context.progress.note(f"{name} FAILED: {error}")
            raise first[1]
        for error in self.errors.values():
            error.add_context("The other databases and trees of this run were stored.")
        stored = store_details(
            self.context, self.id, self.details.values(), self.tree_details, self.skipped, self.errors
        )
        manifest = new_manifest(
            self.context, self.request, self.id, self.started, stored, databases, tuple(self.trees)
        )
        manifest = store_lists(self.context, self.sizes.with_comparisons(manifest))
        for lock in locks:
            lock.check()
        store_manifest(self.context, self.signing_key, manifest, self.record.expect_manifest)
        return manifest
