"""Restore a backup into scratch databases and a scratch folder, compare them with the backup, and drop them.

A drill does not exclude backups and restores, because they use none of its databases and files. If a drill is
killed, its databases and files are removed by the next drill or by prune_backups.
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
from igny8_backup.errors import BackupError, IntegrityError, ToolError, damaged_backup
from igny8_backup.formats import keys
from igny8_backup.formats.annotations import DRILLED, MISSING, UNREADABLE
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.manifest import COMPLETE, DatabasePart, Manifest, TreePart
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.drill.scratch import drill_folder, exclusive_drill
from igny8_backup.operations.extract.tree import TreeCopy, choose_files, write_tree
from igny8_backup.operations.read_details import read_details
from igny8_backup.operations.restore.preflight import unknown_migrations
from igny8_backup.operations.selection import require_none
from igny8_backup.operations.staging.load import load_staging
from igny8_backup.operations.staging.overrides import RestoreOverrides, apply_overrides
from igny8_backup.operations.staging.scratch_folder import scratch_folder
from igny8_backup.operations.verify.result import CheckRecorder, VerifyResult
from igny8_backup.operations.verify.run import newest_backup
from igny8_backup.store import MissingObjectError

SKEW = timedelta(minutes=5)
"""The largest adjustment of the clock during a dump that :meth:`_Drill.check_time` tolerates."""


@dataclass(frozen=True, kw_only=True)
class DrillRequest:
    """The backup to restore: the newest if ``backup_id`` is empty.

    ``owners``: restore owners and privileges. Otherwise the restoring role owns everything.
    """

    backup_id: str = ""
    identity_file: Path | None = None
    owners: bool = True


@dataclass(frozen=True, kw_only=True)
class _ScratchDatabase:
    """A database of the backup, and the ``name`` of the scratch database that it is restored into."""

    engine: Engine
    part: DatabasePart
    details: DatabaseDetails
    name: str


def drill(context: BackupContext, request: DrillRequest) -> VerifyResult:
    """Restore every complete database and tree of a backup, compare it with the details, record the result.

    The duration of the drill, which is recorded too, is the time that a recovery takes. Damage is reported in
    the result. If the drill fails for other reasons, nothing is recorded. Raises ``UsageError`` for an
    unknown backup or a database that is not PostgreSQL; ``LockedError`` during another drill, or if the lock
    was lost; ``RefusedError`` if the backup cannot be restored on this server; ``IdentityError``,
    ``FilesError``, ``DatabaseError``, ``ToolError``, ``StorageError``.
    """
    with exclusive_drill(context) as check_locks:
        return _Drill(context, request, check_locks).run()


class _Drill:
    """One drill: its backup, its locks, and the damage found so far."""

    def __init__(
        self, context: BackupContext, request: DrillRequest, check_locks: Callable[[], None]
    ) -> None:
        self.context = context
        self.request = request
        self.check_locks = check_locks
        self.manifest: Manifest = context.catalog.get(request.backup_id or newest_backup(context))
        self.check = CheckRecorder(context, self.manifest, depth=DRILLED)
        self.check.count(0, self.manifest.details.stored_bytes)  # the manifest, whose size is not known, too
        self.stamp = keys.stamp(self.check.started)
        self.identities = context.identities(request.identity_file, needed=self.manifest.encrypted)

    def run(self) -> VerifyResult:
        databases = self.plan()
        with scratch_folder(drill_folder(self.context, self.stamp)) as folder:
            for database in databases:
                with self.recording_damage(database.part.dump.key):
                    self.restore_database(database)
            for tree in self.manifest.trees:
                if tree.state == COMPLETE:
                    with self.recording_damage(tree.stored_index.key):
                        self.restore_tree(tree, folder)
        self.check_locks()
        return self.check.record()

    def plan(self) -> list[_ScratchDatabase]:
        """Return the databases to restore. Raises ``RefusedError`` if one cannot be restored here."""
        details = read_details(self.context, self.manifest, self.identities)
        overrides = RestoreOverrides(owners=self.request.owners)
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
            restored, _ = apply_overrides(engine, details.database(part.alias), overrides)
            name = engine.derived_name(DRILL, self.stamp)
            blockers += engine.for_database(name).blockers(part, restored) + unknown_migrations(restored)
            found.append(_ScratchDatabase(engine=engine, part=part, details=restored, name=name))
        require_none(blockers)
        return found

    def restore_database(self, database: _ScratchDatabase) -> None:
        engine, name = database.engine, database.name
        self.check_time(database)
        try:
            engine.create_staging(name, database.details)
            selection = RestoreSelection(owners=self.request.owners)
            part, details = database.part, database.details
            load_staging(self.context, engine, name, part, details, self.identities, selection=selection)
        except ToolError:
            self.check_dump(database.part)
            raise
        finally:
            _drop(self.context, engine, name)
        self.check.count(database.part.dump.stored_bytes)

    def check_time(self, database: _ScratchDatabase) -> None:
        """Check that the dump was made during the backup run: an older dump could pass all other checks.

        Without a recorded snapshot (old releases) nothing is checked: the time zone of the dump is unknown.
        """
        part = database.part
        if not database.details.snapshot:
            return
        made = database.engine.dumped_at(part, self.context.download(part.dump, self.identities))
        if made and not part.started - SKEW <= made <= part.finished + SKEW:
            raise damaged_backup(
                f"The dump was made at {made:%Y-%m-%d %H:%M:%S} UTC, not while this backup ran: it belongs"
                " to another backup."
            )

    def check_dump(self, part: DatabasePart) -> None:
        """Read the dump to its end without a server, after ``pg_restore`` failed.

        Raises ``IntegrityError`` if the dump is damaged. Otherwise the server, its disk or the network
        failed.
        """
        blocks = self.context.download(part.dump, self.identities)
        config = self.context.config
        read_dump(blocks, part, bin_dir=config.client_bin_dir, scratch=config.scratch_dir)

    def restore_tree(self, tree: TreePart, folder: Path) -> None:
        chosen = choose_files(self.context, tree, [], self.identities)
        copy = TreeCopy(backup_id=self.manifest.id, part=tree, chosen=chosen, folder=folder / tree.name)
        with self.context.observe(f"files {tree.name}") as observer:
            observer.begin(tree.bytes)
            write_tree(self.context, copy, self.identities, observer.advance)
        self.check.count(*(item.stored_bytes for item in tree.objects()))

    @contextmanager
    def recording_damage(self, key: str) -> Iterator[None]:
        """Add a finding for the object ``key`` if the body finds damage. Any other error ends the drill."""
        self.check_locks()
        try:
            yield
        except MissingObjectError as error:
            self.check.add_finding(key, MISSING, error.what)
        except IntegrityError as error:
            self.check.add_finding(key, UNREADABLE, error.what)


def _drop(context: BackupContext, engine: Engine, name: str) -> None:
    try:
        engine.drop(name)
    except BackupError as error:
        context.progress.note(
            f"The scratch database {name} could not be dropped. The next drill will drop it. {error}"
        )
