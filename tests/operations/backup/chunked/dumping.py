"""A host that dumps archives in chunks, without a database server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from igny8_backup.catalog.lists import Lists
from igny8_backup.databases.dump_streams import DumpStreams, Placement
from igny8_backup.formats import keys, records
from igny8_backup.formats.details import SCHEMA as DETAILS_SCHEMA
from igny8_backup.formats.details import Details
from igny8_backup.formats.manifest import COMPLETE, FAILED, SCHEMA, Manifest
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.operations.backup.chunked.dumps import ChunkedDumps, changed_error
from igny8_backup.operations.backup.chunked.state_files import map_path
from igny8_backup.operations.backup.lists import store_lists
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.store_manifest import store_manifest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.maintain.inventory import read_inventory
from igny8_backup.operations.maintain.pruning.remove import remove_backup
from igny8_backup.operations.maintain.pruning.sweep import plan_sweep, sweep
from igny8_backup.operations.read.dump import open_archives, open_dump
from igny8_backup.store.folder.local import LocalStore
from igny8_backup.streams import Blocks
from igny8_backup.streams.age import Identity
from igny8_backup.streams.pipeline import from_bytes
from tests.operations.clocks import Clock, by_clock
from tests.operations.conftest import Notes

ALIAS = "default"
PLACEMENT = (("public.large",),)


class Killed(BaseException):
    """The process of a backup ended, as by ``kill -9``."""


@dataclass
class Host:
    """A host with one database.

    ``made`` maps the ids of its backups to the archives that were dumped, ``made_data`` to their data
    archives. ``placements`` are those with which the dumps were begun.
    """

    context: BackupContext
    clock: Clock = field(default_factory=Clock)
    made: dict[str, bytes] = field(default_factory=dict)
    made_data: dict[str, list[bytes]] = field(default_factory=dict)
    placements: list[Placement | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        config = replace(self.context.config, databases=(ALIAS,), chunked_dumps=(ALIAS,))
        self.folder.mkdir()
        self.context = by_clock(replace(self.context, config=config), self.clock)

    @property
    def folder(self) -> Path:
        """The folder of the storage."""
        assert isinstance(self.context.store, LocalStore)
        return Path(self.context.store.root)

    @property
    def notes(self) -> list[str]:
        assert isinstance(self.context.progress, Notes)
        return self.context.progress.texts

    @property
    def map(self) -> Path:
        return map_path(self.context, ALIAS)

    def dump(
        self,
        archive: bytes,
        kind: str = "",
        *,
        data: Sequence[bytes] = (),
        blocks: Callable[[], Blocks] | None = None,
        suspect: bool = False,
        damaged: frozenset[str] = frozenset(),
        before_check: Callable[[], object] = lambda: None,
        before_map: Callable[[], object] = lambda: None,
    ) -> DatabasePart:
        """Back up ``archive``, which ``blocks`` may yield in another way, and data archives.

        ``before_check`` is called before the packs are looked at once more, ``before_map`` at the end.
        """
        context, started = replace(self.context, lists=Lists()), self.clock()
        backup_id = keys.make_id(started, f"{len(self.made):06x}")
        self.made[backup_id], self.made_data[backup_id] = archive, list(data)
        request = BackupRequest(databases=(ALIAS,), dump_kind=kind)
        part = DatabasePart(alias=ALIAS, engine="postgresql", state=FAILED, started=started, finished=started)
        with ChunkedDumps(context, backup_id, request) as chunked:
            assert chunked.includes(part)
            begin = blocks or (lambda: from_bytes(archive))

            def opened(placement: Placement | None) -> AbstractContextManager[DumpStreams]:
                self.placements.append(placement)
                archives = [begin(), *map(from_bytes, data)]
                return nullcontext(DumpStreams(archives, placement or PLACEMENT, at_once=len(archives)))

            part = chunked.store(part, opened, len(archive), damaged)
            before_check()
            if chunked.changed_objects(part):
                part = chunked.store(part, opened, len(archive), damaged)
                before_check()
                if error := changed_error(part, chunked.changed_objects(part)):
                    raise error
            manifest = self._store_manifest(context, backup_id, part)
            before_map()
            chunked.save_maps(manifest, {ALIAS} if suspect else ())
        return self.part(backup_id)

    def _store_manifest(self, context: BackupContext, backup_id: str, part: DatabasePart) -> Manifest:
        details = Details(schema=DETAILS_SCHEMA, id=backup_id, secret_key_fingerprint="")
        upload = context.upload(keys.details_key(backup_id, context.codec.suffix))
        manifest = Manifest(
            schema=SCHEMA,
            id=backup_id,
            host=context.config.host,
            environment="test",
            label="",
            started=part.started,
            finished=self.clock(),
            requested=(ALIAS,),
            software={},
            details=upload.send(from_bytes(records.to_json(details))),
            databases=(part,),
        )
        manifest = store_lists(context, manifest)
        store_manifest(context, None, manifest, lambda data: None)
        return manifest

    def part(self, backup_id: str) -> DatabasePart:
        """Return the entry of the dump in the manifest of a backup, as a new process reads it."""
        context = replace(self.context, lists=Lists())
        (part,) = context.catalog.get(backup_id).databases
        assert part.state == COMPLETE
        return part

    def read(self, backup_id: str, identities: Sequence[Identity] = ()) -> bytes:
        """Put the archive of a backup together."""
        context = replace(self.context, lists=Lists())
        with closing(open_dump(context, self.part(backup_id), list(identities))) as blocks:
            return b"".join(blocks)

    def read_all(self, backup_id: str) -> list[bytes]:
        """Put all archives of a backup together, the main one first."""
        context = replace(self.context, lists=Lists())
        return [b"".join(blocks) for blocks in open_archives(context, self.part(backup_id), [])]

    def packs(self) -> list[str]:
        return [item.key for item in self.context.store.list("packs") if item.key.endswith(".chunks.zst")]

    def remove(self, backup_id: str) -> None:
        """Remove a backup as ``prune_backups`` does, and what no other backup needs, a day later."""
        context = replace(self.context, lists=Lists())
        assert remove_backup(context, read_inventory(context), backup_id, lambda: None, reason="a test")
        del self.made[backup_id]
        self.sweep()
        self.clock.forward(hours=21)
        self.sweep()

    def sweep(self) -> None:
        context = replace(self.context, lists=Lists())
        with nullcontext(plan_sweep(context)) as plan:
            list(sweep(context, plan, lambda: None))

    def complete(self) -> list[str]:
        """Return the ids of the backups that exist and that lack no object."""
        stored = {item.key: item.size for item in self.context.store.list()}
        context = replace(self.context, lists=Lists())
        return [
            manifest.id
            for manifest in context.catalog.manifests()
            if all(not part.packs_problem for part in manifest.databases)
            and all(stored.get(item.key) == item.stored_bytes for item in manifest.objects())
        ]
