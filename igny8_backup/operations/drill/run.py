"""Restore a backup into scratch databases and a scratch folder, compare it with its details, and drop it.

A drill takes no lock against backups and restores, because it touches nothing that they use. What a killed
drill leaves is removed by the next drill, or by prune_backups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from igny8_backup.databases.capabilities import Capability
from igny8_backup.databases.engine import Engine
from igny8_backup.databases.names import DRILL
from igny8_backup.databases.values import RestoreSelection
from igny8_backup.databases.verify_dump import read_dump
from igny8_backup.errors import BackupError, IntegrityError, ToolError
from igny8_backup.formats import keys
from igny8_backup.formats.annotations import DRILLED, MISSING, SCHEMA, UNREADABLE, Check, Damage
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.manifest import COMPLETE, DatabasePart, Manifest, TreePart
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.drill.scratch import exclusive_drill, scratch_folder
from igny8_backup.operations.extract.tree import TreeCopy, choose_files, write_tree
from igny8_backup.operations.read_details import read_details
from igny8_backup.operations.restore.preflight import unknown_migrations
from igny8_backup.operations.selection import require_none
from igny8_backup.operations.staging.load import load_staging
from igny8_backup.operations.staging.overrides import RestoreOverrides, apply_overrides
from igny8_backup.operations.verify.result import Finding, VerifyResult, record_check
from igny8_backup.operations.verify.run import newest_backup
from igny8_backup.store import MissingObjectError
from igny8_backup.streams.age import Identity

SKEW = timedelta(minutes=5)
"""By how much the clock may have been adjusted while a dump was made."""


@dataclass(frozen=True, kw_only=True)
class DrillRequest:
    """Which backup to restore: the newest where ``backup_id`` is empty. Without ``owners`` everything in the
    scratch databases belongs to the role that restores."""

    backup_id: str = ""
    identity_file: Path | None = None
    owners: bool = True


@dataclass(frozen=True, kw_only=True)
class _ScratchDatabase:
    """A database to restore: the part, its details, and the ``name`` of the scratch database."""

    engine: Engine
    part: DatabasePart
    details: DatabaseDetails
    name: str


def drill(context: BackupContext, request: DrillRequest) -> VerifyResult:
    """Restore every complete part of one backup and compare it with its details; record the result.

    The recorded check has the depth ``drill``; its duration is how long a recovery takes. Damage is part of
    the result. Whatever is not the fault of the backup is raised, and nothing is recorded: ``UsageError`` for
    an unknown backup or a database that is not PostgreSQL, ``LockedError`` while another drill is under way
    or when the lock was lost, ``RefusedError`` where the server cannot hold the backup, ``IdentityError``,
    ``FilesError``, ``DatabaseError``, ``ToolError``, ``StorageError``.
    """
    with exclusive_drill(context) as check_locks:
        return _Drill(context, request, check_locks).run()


class _Drill:
    """The state of one drill: what was read so far, and what is damaged."""

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
            for database in databases:
                with self.recording_damage(database.part.object.key if database.part.object else ""):
                    self.restore_database(database)
            for tree in self.manifest.trees:
                if tree.state == COMPLETE:
                    with self.recording_damage(tree.index.key if tree.index else ""):
                        self.restore_tree(tree, folder)
        return self.record()

    def plan(self) -> list[_ScratchDatabase]:
        """Choose the databases to restore. Raises ``RefusedError`` listing why one cannot be restored."""
        details = read_details(self.context, self.manifest, self.identities)
        found: list[_ScratchDatabase] = []
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
            database_details, _ = apply_overrides(
                engine, details.database(part.alias), RestoreOverrides(owners=self.request.owners)
            )
            name = engine.derived_name(DRILL, self.stamp)
            blockers += engine.for_database(name).blockers(part, database_details) + unknown_migrations(
                database_details
            )
            found.append(_ScratchDatabase(engine=engine, part=part, details=database_details, name=name))
        require_none(blockers)
        return found

    def restore_database(self, database: _ScratchDatabase) -> None:
        engine, name = database.engine, database.name
        self.check_time(database)
        try:
            engine.create_staging(name, database.details)
            load_staging(
                self.context,
                engine,
                name,
                database.part,
                database.details,
                self.identities,
                selection=RestoreSelection(owners=self.request.owners),
            )
        except ToolError:
            self.check_dump(database.part)
            raise
        finally:
            _drop(self.context, engine, name)
        if database.part.object:
            self.read += 1
            self.bytes += database.part.object.stored_bytes

    def check_time(self, database: _ScratchDatabase) -> None:
        """Check that the dump was made during its run: an older dump could pass every other comparison.

        Old releases recorded no snapshot and did not fix the time zone of the dump: then nothing is checked.
        """
        part, stored = database.part, database.part.object
        if stored is None or not database.details.snapshot:
            return
        made = database.engine.dumped_at(part, self.context.download(stored, self.identities))
        if made and not part.started - SKEW <= made <= part.finished + SKEW:
            raise IntegrityError(
                f"The dump was made at {made:%Y-%m-%d %H:%M:%S} UTC, not while this backup ran: it belongs"
                " to another backup.",
                unchanged="Nothing live was changed.",
                hint="Choose another backup: list_backups.",
            )

    def check_dump(self, part: DatabasePart) -> None:
        """Find out whether the dump is to blame after ``pg_restore`` failed, by reading it without a server.

        Raises ``IntegrityError`` if so; otherwise the server, its disk or the network failed.
        """
        if part.object:
            blocks = self.context.download(part.object, self.identities)
            config = self.context.config
            read_dump(blocks, part, bin_dir=config.client_bin_dir, scratch=config.scratch_dir)

    def restore_tree(self, tree: TreePart, folder: Path) -> None:
        chosen = choose_files(self.context, tree, [], self.identities)
        copy = TreeCopy(backup_id=self.manifest.id, part=tree, chosen=chosen, folder=folder / tree.name)
        with self.context.observe(f"files {tree.name}") as observer:
            observer.begin(tree.bytes)
            write_tree(self.context, copy, self.identities, observer.advance)
        objects = [item for item in (tree.index, tree.folders, *tree.packs) if item]
        self.read += len(objects)
        self.bytes += sum(item.stored_bytes for item in objects)

    @contextmanager
    def recording_damage(self, key: str) -> Iterator[None]:
        """Record damage to the part with this key and go on; any other error ends the drill."""
        self.check_locks()
        try:
            yield
        except MissingObjectError as error:
            self.add_finding(key, MISSING, error)
        except IntegrityError as error:
            self.add_finding(key, UNREADABLE, error)

    def add_finding(self, key: str, kind: str, error: BackupError) -> None:
        self.findings.append(Finding(damage=Damage(key=key, kind=kind), text=error.what))

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
        return record_check(self.context, check, tuple(self.findings))


def _drop(context: BackupContext, engine: Engine, name: str) -> None:
    try:
        engine.drop(name)
    except BackupError as error:
        context.progress.note(
            f"The scratch database {name} could not be dropped; the next drill tries again. {error}"
        )
