"""Restore backups into scratch databases and a scratch folder, compare them with the backup, and drop them.

A drill does not block backups and restores: they use other databases and files. If a drill is killed, the
next drill or prune_backups removes its databases and files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from igny8_backup.common.humanize import count_in_words, size_in_words
from igny8_backup.databases.verify_dump import read_dump
from igny8_backup.errors import IntegrityError, ToolError, damaged_backup
from igny8_backup.formats import keys
from igny8_backup.formats.documents.annotations import DRILLED, UNREADABLE, CheckedPart
from igny8_backup.formats.manifest import Manifest
from igny8_backup.formats.objects import StoredObject
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.drill.choose import choose
from igny8_backup.operations.drill.load import load_database
from igny8_backup.operations.drill.place import Places
from igny8_backup.operations.drill.plan import LACKS_RIGHTS, ScratchDatabase, plan_database
from igny8_backup.operations.drill.result import DrillReport, DrillResult
from igny8_backup.operations.drill.scratch import drill_folder, exclusive_drill
from igny8_backup.operations.extract.tree import TreeCopy, choose_files, write_tree
from igny8_backup.operations.history.documents import note_unsigned
from igny8_backup.operations.history.newest_copies import Choice
from igny8_backup.operations.history.read import recorded_damage
from igny8_backup.operations.read.details import read_details
from igny8_backup.operations.read.dump import open_archives, open_dump
from igny8_backup.operations.selection import require_none
from igny8_backup.operations.staging.live_state import unchanged_live
from igny8_backup.operations.staging.project_code.rehearsal import rehearse
from igny8_backup.operations.staging.scratch_folder import scratch_folder
from igny8_backup.operations.verify.result import CheckRecorder
from igny8_backup.signing.trust import CHECK
from igny8_backup.store import MissingObjectError

SKEW = timedelta(minutes=5)
"""The longest accepted time between a dump and its backup run, in case the clock was adjusted."""


@dataclass(frozen=True, kw_only=True)
class DrillRequest:
    """What to restore: the backup ``backup_id``; if it is empty, the newest copy of each database and tree.

    ``owners``: restore owners and privileges. Otherwise the restoring role owns everything. ``migrate``: run
    the migrations of the code, as a restore does. ``own_server``: restore databases into a private server,
    which is started for the drill.
    """

    backup_id: str = ""
    identity_file: Path | None = None
    owners: bool = True
    migrate: bool = True
    own_server: bool = False


def drill(context: BackupContext, request: DrillRequest) -> DrillReport:
    """Restore the requested databases and trees, compare them with the backups, and record the results.

    Without a backup id, the newest complete backup is restored, and then the newest copy of each database and
    tree that it lacks. The recorded duration of a drill shows how long a real recovery would take. Damage is
    reported in the result. If a drill fails for other reasons, no result is recorded.

    Raises ``UsageError`` for an unknown backup, for one without a complete database or tree, or if a database
    is not PostgreSQL; ``LockedError`` if another drill is running, or if a lock was lost; ``RefusedError`` if
    a backup cannot be restored on this server, or if ``pg_restore`` is not safe enough for it;
    ``IdentityError``, ``FilesError``, ``DatabaseError``, ``ToolError``, ``StorageError``.
    """
    with exclusive_drill(context) as check_locks:
        chosen, left_out = choose(context, request.backup_id)
        note_unsigned(context, CHECK, "The result")
        damaged = recorded_damage(context)
        results = tuple(_Drill(context, request, choice, check_locks, damaged).run() for choice in chosen)
        return DrillReport(results=results, left_out=left_out)


class _Drill:
    """The drill of one backup: what was restored, and the damage found so far.

    ``check_locks`` raises ``LockedError`` if a lock of the drill was lost.
    """

    def __init__(
        self,
        context: BackupContext,
        request: DrillRequest,
        choice: Choice,
        check_locks: Callable[[], None],
        damaged: frozenset[str],
    ) -> None:
        self.context = context
        self.request = request
        self.check_locks = check_locks
        self.manifest: Manifest = choice.manifest
        self.parts = choice.parts
        self.restored: list[str] = []
        self.lists: set[StoredObject] = set()  # several databases and trees share a list
        self.check = CheckRecorder(context, self.manifest, depth=DRILLED, parts=choice.parts, damaged=damaged)
        self.stamp = keys.stamp(self.check.started)
        self.identities = context.identities(request.identity_file, needed=self.manifest.encrypted)

    def run(self) -> DrillResult:
        aliases = [part.alias for part in self.manifest.databases if self.is_chosen(part)]
        with unchanged_live(self.context, aliases):
            self.restore_all()
        return self.result()

    def restore_all(self) -> None:
        """Restore the chosen databases and trees, and drop them again."""
        self.context.require_genuine(self.manifest)  # a refusal is not damage
        self.check.count_manifest(self.context.store.read_small(keys.manifest_key(self.manifest.id)))
        folder = drill_folder(self.context, self.stamp)
        with Places(self.context, folder, own_server=self.request.own_server, stamp=self.stamp) as places:
            databases: list[ScratchDatabase] = []
            with self.recording_damage(self.manifest.details):
                databases = self.plan(places)
                self.check.add_sound(self.manifest.details)
            if self.check.findings:
                return
            with scratch_folder(folder):
                for database in databases:
                    with self.recording_damage(database.part.dump):
                        self.restore_database(database)
                for tree in self.manifest.trees:
                    if self.is_chosen(tree):
                        with self.recording_damage(tree.stored_index):
                            self.restore_tree(tree, folder)
            self.check_locks()

    def result(self) -> DrillResult:
        """Store the result, and return it."""
        recorded = replace(self.check.record(), warnings=self.context.shortfalls.take_texts())
        return DrillResult(**vars(recorded), manifest=self.manifest, restored=tuple(self.restored))

    def is_chosen(self, part: DatabasePart | TreePart) -> bool:
        return CheckedPart(kind=part.kind, name=part.name) in self.parts

    def plan(self, places: Places) -> list[ScratchDatabase]:
        """Return the databases to restore. Raises ``RefusedError`` if one cannot be restored here."""
        details = read_details(self.context, self.manifest, self.identities)
        plans = [
            plan_database(
                self.context,
                self.manifest,
                places,
                part,
                details.database(part.alias),
                owners=self.request.owners,
                stamp=self.stamp,
            )
            for part in self.manifest.databases
            if self.is_chosen(part)
        ]
        found = [item.details for item, _ in plans]
        rehearsal = rehearse(self.context, found, migrate=self.request.migrate)
        require_none([*(text for _, blockers in plans for text in blockers), *rehearsal.blockers])
        return [item for item, _ in plans]

    def restore_database(self, database: ScratchDatabase) -> None:
        self.check_time(database)
        try:
            load_database(self.context, database, self.identities, migrate=self.request.migrate)
        except ToolError as error:
            self.check_dump(database.part)
            if database.otherwise is None or not LACKS_RIGHTS.search(error.what):
                raise
            self.context.progress.note(
                f"The role that was made for the drill could not restore the dump: {error.what} The drill"
                " tries again with the role of the application."
            )
            for text in database.otherwise.notes:
                if text not in database.notes:
                    self.context.progress.note(text)
            load_database(self.context, database.otherwise, self.identities, migrate=self.request.migrate)
        self.check.add_sound(*database.part.objects(), *self.new_lists(database.part))
        self.restored.append(f"database {database.part.alias} ({size_in_words(database.part.bytes)})")

    def check_time(self, database: ScratchDatabase) -> None:
        """Check that the dump was made during the backup run: an older dump could pass all other checks.

        Nothing is checked if an old release of this package made the backup and recorded no snapshot, because
        the time zone of such a dump is unknown.
        """
        part = database.part
        if not database.details.snapshot:
            return
        made = database.engine.dumped_at(part, open_dump(self.context, part, self.identities))
        if made and not part.started - SKEW <= made <= part.finished + SKEW:
            raise damaged_backup(
                f"The dump was made at {made:%Y-%m-%d %H:%M:%S} UTC, not while this backup ran: it belongs"
                " to another backup."
            )

    def check_dump(self, part: DatabasePart) -> None:
        """After ``pg_restore`` has failed, read the dump to its end, to find out whether it is damaged.

        Raises ``IntegrityError`` if the dump is damaged. Otherwise the restore failed for another reason,
        such as the server, its disk or the network. Reading the dump needs no server.
        """
        config = self.context.config
        for blocks in open_archives(self.context, part, self.identities):
            read_dump(
                blocks,
                part,
                bin_dir=config.client_bin_dir,
                scratch=config.scratch_dir,
                user=config.restore_user,
            )

    def restore_tree(self, tree: TreePart, folder: Path) -> None:
        chosen = choose_files(self.context, tree, [], self.identities)
        copy = TreeCopy(backup_id=self.manifest.id, part=tree, chosen=chosen, folder=folder / tree.name)
        with self.context.observe(f"files {tree.name}") as observer:
            observer.begin(tree.bytes)
            write_tree(self.context, copy, self.identities, observer.advance)
        self.check.add_sound(*tree.objects(), *self.new_lists(tree))
        size = f"{count_in_words(tree.files, 'file')}, {size_in_words(tree.bytes)}"
        self.restored.append(f"files {tree.name} ({size})")

    def new_lists(self, part: DatabasePart | TreePart) -> list[StoredObject]:
        """Return the lists of the packs of a part, except those that were returned before."""
        found = [item for item in part.lists() if item not in self.lists]
        self.lists.update(found)
        return found

    @contextmanager
    def recording_damage(self, main: StoredObject) -> Iterator[None]:
        """Record damage that the ``with`` block finds. Any other error ends the drill.

        The damage is recorded for the object that the error names. Other backups may need that object too. If
        the error names none, the damage is recorded for ``main``, an object that only this backup needs.
        """
        self.check_locks()
        try:
            yield
        except (MissingObjectError, IntegrityError) as error:
            objects = {item.key: item for item in self.manifest.objects()}
            item = objects.get(error.object_key, main)
            if self.check.read_stored(item):
                self.check.add_finding(item.key, UNREADABLE, error.what)
