"""A backup restored for practice: into scratch that nobody else may enter, compared, and dropped.

What a drill that was killed leaves is removed by the next one, or when backups are pruned. No lock against
backups: nothing that a backup or a restore knows of is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from igny8_backup.databases.engine import Capability, Engine
from igny8_backup.databases.names import DRILL
from igny8_backup.databases.values import RestoreSelection
from igny8_backup.databases.verify_dump import read_dump
from igny8_backup.errors import (
    BackupError,
    IntegrityError,
    StorageError,
    ToolError,
)
from igny8_backup.formats import keys, records
from igny8_backup.formats.annotations import DRILLED, MISSING, SCHEMA, UNREADABLE, Check, Damage
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.manifest import COMPLETE, DatabasePart, Manifest, TreePart
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.drill.scratch import drill_alone, scratch_folder
from igny8_backup.operations.extract.tree import TreeCopy, choose_files, write_tree
from igny8_backup.operations.read_details import read_details
from igny8_backup.operations.restore.preflight import unknown_migrations
from igny8_backup.operations.selection import require_none
from igny8_backup.operations.staging.load import load_staging
from igny8_backup.operations.staging.overrides import RestoreOverrides, apply_overrides
from igny8_backup.operations.verify.run import newest_backup
from igny8_backup.operations.verify.verifier import Finding, VerifyResult
from igny8_backup.store import MissingObjectError
from igny8_backup.streams.age import Identity

SKEW = timedelta(minutes=5)
"""How far the clock may have been set while a dump was made."""


@dataclass(frozen=True, kw_only=True)
class DrillRequest:
    """``backup_id`` is empty for the newest. Without ``owners`` all belongs to the role that restores."""

    backup_id: str = ""
    identity_file: Path | None = None
    owners: bool = True


@dataclass(frozen=True, kw_only=True)
class _Practice:
    """A database to restore: where, and what it must be like."""

    engine: Engine
    part: DatabasePart
    details: DatabaseDetails
    name: str


def drill(context: BackupContext, request: DrillRequest) -> VerifyResult:
    """Restores every complete part of one backup and compares it with what its details say.

    The check that is recorded beside the backup has the depth ``drill``; from its beginning to its end is how
    long a recovery takes. Raises ``UsageError`` for an unknown backup or a database that is not PostgreSQL,
    ``LockedError`` while another drill goes on or when the lock was lost, ``IdentityError``, ``RefusedError``
    where the server cannot take the backup, and what is no fault of the backup: ``FilesError``,
    ``DatabaseError``, ``ToolError``, ``StorageError``. Nothing is recorded then.
    """
    with drill_alone(context) as check_locks:
        return _Drill(context, request, check_locks).run()


class _Drill:
    def __init__(
        self, context: BackupContext, request: DrillRequest, check_locks: Callable[[], None]
    ) -> None:
        self.context = context
        self.request = request
        self.check_locks = check_locks
        self.started = context.clock()
        self.stamp = keys.stamp(self.started)
        self.manifest: Manifest = context.catalog.get(request.backup_id or newest_backup(context))
        self.identities: list[Identity] = context.identities(
            request.identity_file, needed=self.manifest.encrypted
        )
        self.findings: list[Finding] = []
        self.read = 2  # manifest and details
        self.bytes = self.manifest.details.stored_bytes

    def run(self) -> VerifyResult:
        databases = self.plan()
        with scratch_folder(self.context, self.stamp) as folder:
            for practice in databases:
                with self.judging(practice.part.object and practice.part.object.key or ""):
                    self.restore_database(practice)
            for tree in self.manifest.trees:
                if tree.state == COMPLETE:
                    with self.judging(tree.index.key if tree.index else ""):
                        self.restore_tree(tree, folder)
        return self.record()

    def plan(self) -> list[_Practice]:
        details = read_details(self.context, self.manifest, self.identities)
        found: list[_Practice] = []
        blockers: list[str] = []
        for part in self.manifest.databases:
            if part.state != COMPLETE:
                continue
            engine = self.context.engine(part.alias)
            engine.require(
                Capability.DRILL,
                unchanged="Nothing was created.",
                hint="Run the drill with settings whose DATABASES name a PostgreSQL server.",
            )
            adapted, _ = apply_overrides(
                engine, details.database(part.alias), RestoreOverrides(owners=self.request.owners)
            )
            name = engine.derived_name(DRILL, self.stamp)
            blockers += engine.for_database(name).blockers(part, adapted) + unknown_migrations(adapted)
            found.append(_Practice(engine=engine, part=part, details=adapted, name=name))
        require_none(blockers)
        return found

    def restore_database(self, practice: _Practice) -> None:
        engine, name = practice.engine, practice.name
        self.check_time(practice)
        try:
            engine.create_staging(name, practice.details)
            load_staging(
                self.context,
                engine,
                name,
                practice.part,
                practice.details,
                self.identities,
                selection=RestoreSelection(owners=self.request.owners),
            )
        except ToolError:
            self.read_again(practice.part)
            raise
        finally:
            _drop(self.context, engine, name)
        if practice.part.object:
            self.read += 1
            self.bytes += practice.part.object.stored_bytes

    def check_time(self, practice: _Practice) -> None:
        """The dump was made by the run that the manifest is of: an older one may answer everything alike.

        Where the details name no instant, a release wrote them that did not fix the time zone of the dump."""
        part, stored = practice.part, practice.part.object
        if stored is None or not practice.details.snapshot:
            return
        made = practice.engine.dumped_at(part, self.context.download(stored, self.identities))
        if made and not part.started - SKEW <= made <= part.finished + SKEW:
            raise IntegrityError(
                f"The dump was made {made:%Y-%m-%d %H:%M:%S} UTC, and not while this backup was: it is"
                " another one."
            )

    def read_again(self, part: DatabasePart) -> None:
        """``pg_restore`` failed: at the dump, or at the server, its disk or the way to it? Without a server
        only the dump can be it. Raises ``IntegrityError`` then."""
        if part.object:
            blocks = self.context.download(part.object, self.identities)
            config = self.context.config
            read_dump(blocks, part, bin_dir=config.client_bin_dir, scratch=config.scratch_dir)

    def restore_tree(self, tree: TreePart, folder: Path) -> None:
        chosen = choose_files(self.context, tree, [], self.identities)
        copy = TreeCopy(backup_id=self.manifest.id, part=tree, chosen=chosen, place=folder / tree.name)
        self.context.progress.begin(f"files {tree.name}", tree.bytes)
        try:
            write_tree(self.context, copy, self.identities, self.context.progress.advance)
        finally:
            self.context.progress.end()
        objects = [item for item in (tree.index, tree.folders, *tree.packs) if item]
        self.read += len(objects)
        self.bytes += sum(item.stored_bytes for item in objects)

    @contextmanager
    def judging(self, key: str) -> Iterator[None]:
        """Takes down that a part is not what was backed up; the others are still to be tried. Whatever else
        fails tells nothing about the backup, and ends the drill."""
        self.check_locks()
        try:
            yield
        except MissingObjectError as error:
            self.found(key, MISSING, error)
        except IntegrityError as error:
            self.found(key, UNREADABLE, error)

    def found(self, key: str, kind: str, error: BackupError) -> None:
        self.findings.append(Finding(damage=Damage(key=key, kind=kind), text=str(error)))

    def record(self) -> VerifyResult:
        self.check_locks()
        check = Check(
            schema=SCHEMA,
            id=self.manifest.id,
            depth=DRILLED,
            started=self.started,
            finished=self.context.clock(),
            sample=100,
            objects=len(self.manifest.objects()) + 1,
            read=self.read,
            bytes=self.bytes,
            damage=tuple(finding.damage for finding in self.findings),
        )
        unrecorded = ""
        try:
            key = keys.check_key(self.manifest.id, self.started, DRILLED)
            self.context.store.put_small(key, records.to_json(check))
        except StorageError as error:
            unrecorded = str(error)
        return VerifyResult(check=check, findings=tuple(self.findings), unrecorded=unrecorded)


def _drop(context: BackupContext, engine: Engine, name: str) -> None:
    try:
        engine.drop(name)
    except BackupError as error:
        context.progress.note(f"The database {name} could not be dropped, the next drill will: {error}")
