"""One attempt to store a dump in chunks: its new packs, its log, and the map that follows from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from threading import Lock

from igny8_backup.chunks import cutter, full_tries, try_log
from igny8_backup.chunks.chunk_map import PLACE, SCHEMA, MapHeader, MapPack
from igny8_backup.chunks.cutter import Cutter
from igny8_backup.chunks.locations import Location
from igny8_backup.chunks.map_writer import MapWriter, renumbered
from igny8_backup.chunks.runs import Index
from igny8_backup.chunks.try_log import TryHeader, TryLog
from igny8_backup.chunks.writer import ArchiveWriter
from igny8_backup.common.filesystem import make_private
from igny8_backup.databases.dump_streams import DumpStreams
from igny8_backup.formats import keys
from igny8_backup.formats.chunked import FULL, ChunkedArchive, ChunkedDump, chunk_pack_key
from igny8_backup.formats.lists import ListedObject, in_base64
from igny8_backup.formats.objects import ListReference, StoredObject
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.operations.backup.chunked.plan import DumpPlan
from igny8_backup.operations.backup.chunked.state_files import (
    log_path,
    map_path,
    state_error,
    tries_path,
)
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.read.thread_context import context_for_thread
from igny8_backup.streams import Blocks
from igny8_backup.streams.side_by_side import Guard, run_side_by_side

STORED_BEHIND = 2
"""So many packs of the only archive of a dump are stored at the same time, while the next one is filled."""


class Attempt:
    """Stores one dump as ``plan`` says, as a backup with the id ``backup_id``. Use it as a context manager.

    ``used`` is the number of pack names that earlier attempts of the same run have taken. ``written`` maps
    the keys of packs to texts that change if somebody writes the packs anew (``Stored.written``); a caller
    adds those of new packs.
    """

    def __init__(self, context: BackupContext, alias: str, backup_id: str, plan: DumpPlan, used: int) -> None:
        self.plan = plan
        self.placement = plan.placement or ()
        self.new: dict[str, StoredObject] = {}
        self.written = {item.pack.key: item.written for item in plan.allowed.values()}
        self._context = context
        self._alias = alias
        self._id = backup_id
        self._used = used
        self._codec = context.codec
        self._lock = Lock()  # of everything that the threads of several archives change
        self._numbers: dict[str, int] = {}  # of packs in the new map
        self._unlogged: defaultdict[str, list[bytes]] = defaultdict(list)
        self._stack = ExitStack()
        self._map: MapWriter
        self._log: TryLog

    def __enter__(self) -> Attempt:
        folder = map_path(self._context, self._alias).parent
        try:
            make_private(folder)
            self._map = self._stack.enter_context(MapWriter(folder))
            self._log = self._stack.enter_context(self._open_log())
            if self.plan.kind == FULL:
                full_tries.add(tries_path(self._context, self._alias), self._id)
        except OSError as error:
            raise state_error(self._context, error) from None
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()
        self.plan.close()

    def write(self, dump: DumpStreams) -> tuple[list[Index], tuple[StoredObject, ...]]:
        """Store the new packs of all archives; return the index of each, and all packs that they need."""
        archives = dump.archives
        if self.plan.placement is None:
            self.placement = dump.placement
        try:
            writing = [partial(self._write_archive, blocks, dump.at_once) for blocks in archives]
            indexes = run_side_by_side(writing, dump.at_once)
        except OSError as error:
            raise state_error(self._context, error) from None
        found = {name: item.pack for name, item in self.plan.allowed.items()} | self.new
        needed = {name for index in indexes for name in index.header.packs}
        return indexes, tuple(sorted((found[name] for name in needed), key=lambda pack: pack.key))

    def _write_archive(self, blocks: Blocks, writers: int, guard: Guard) -> Index:
        # Archives that are stored side by side keep the processors busy, and share the memory.
        behind = 0 if writers > 1 else STORED_BEHIND if self._context.store.parallel_streams else 1
        with context_for_thread(self._context) as context:
            writer = ArchiveWriter(
                Cutter(cutter.identity(self.plan.average), self.plan.seed),
                self.plan.key,
                find=self._find,
                new_name=self._new_name,
                store=partial(self._store, context),
                record=self._record,
                writers=writers,
                behind=behind,
            )
            return writer.write(guard(blocks))

    def _new_name(self) -> str:
        with self._lock:
            self._used += 1
            return keys.pack_name(self._id, self._used)

    def describe(self, indexes: Sequence[Index]) -> ChunkedDump:
        """Return what the manifest says about the dump. ``indexes`` are those of its archives."""
        main, *data = (index.header for index in indexes)
        return ChunkedDump(
            kind=self.plan.kind,
            bytes=main.bytes,
            archive_sha256=main.sha256,
            data=tuple(ChunkedArchive(bytes=header.bytes, archive_sha256=header.sha256) for header in data),
            full_id=self.plan.full_id,
            full_started=self.plan.full_started,
            differential_id=self.plan.differential_id,
            reason=self.plan.reason,
        )

    def save_map(self, part: DatabasePart) -> None:
        """Replace the map of the database. ``part`` is its entry in the stored manifest.

        Raises ``OSError``.
        """
        plan, context = self.plan, self._context
        described = {pack.key: pack.named_in for pack in part.packs}
        new_numbers: list[int | None] = []
        if plan.chunk_map:
            earlier = plan.chunk_map.header
            for pack in earlier.packs:
                name = keys.pack_of(pack.key)
                keep = name in plan.allowed and plan.allowed[name].of_full
                new_numbers.append(self._numbers.setdefault(name, len(self._numbers)) if keep else None)
                if keep:
                    described.setdefault(pack.key, earlier.lists[pack.listed_in])
        lists = sorted({found for found in described.values() if found}, key=lambda found: found.key)
        packs = tuple(self._map_pack(name, described, lists) for name in self._numbers)
        header = MapHeader(
            schema=SCHEMA,
            storage=context.store.identity(),
            prefix=context.config.prefix,
            host=context.config.host,
            alias=self._alias,
            recipients=tuple(context.codec.recipients),
            cutter=cutter.identity(plan.average),
            key=plan.key.text,
            seed=plan.seed,
            backup_id=self._id,
            started=part.started,
            full_id=plan.full_id,
            lists=tuple(lists),
            packs=packs,
            placement=self.placement,
        )
        of_full = {number for number, pack in enumerate(packs) if pack.of_full}
        entries = renumbered(plan.chunk_map.entries(), new_numbers) if plan.chunk_map else ()
        self._map.write(map_path(context, self._alias), header, entries, of_full)

    def forget(self) -> None:
        """Remove the records of this attempt, because the manifest of the dump is stored.

        Other dumps leave the records of full dumps to the next full dump.
        """
        self._log.close()
        with suppress(OSError):
            log_path(self._context, self._alias, full=False).unlink(missing_ok=True)
            if self.plan.kind == FULL:
                log_path(self._context, self._alias, full=True).unlink(missing_ok=True)
                tries_path(self._context, self._alias).unlink(missing_ok=True)

    def _open_log(self) -> TryLog:
        plan, context = self.plan, self._context
        if plan.tried:
            return try_log.continue_log(plan.tried)
        header = TryHeader(
            schema=try_log.SCHEMA,
            storage=context.store.identity(),
            prefix=context.config.prefix,
            host=context.config.host,
            alias=self._alias,
            recipients=tuple(context.codec.recipients),
            cutter=cutter.identity(plan.average),
            key=plan.key.text,
            seed=plan.seed,
            full=plan.kind == FULL,
            started=context.clock(),
        )
        return try_log.start_log(log_path(context, self._alias, full=header.full), header)

    def _find(self, digests: Sequence[bytes]) -> list[Location | None]:
        found: list[Location | None] = [None] * len(digests)
        for chunk_map in self.plan.maps:
            for number, location in enumerate(chunk_map.lookup(digests)):
                if location and found[number] is None and location.pack in self.plan.allowed:
                    found[number] = location
        return found

    def _record(self, digest: bytes, location: Location) -> None:
        with self._lock:
            number = self._numbers.setdefault(location.pack, len(self._numbers))
            self._map.add(digest, number, location.offset, location.length)
            if location.pack not in self.plan.allowed:
                place = PLACE.pack(number, location.offset, location.length)
                self._unlogged[location.pack].append(digest + place)

    def _store(self, context: BackupContext, name: str, contents: memoryview) -> None:
        key = chunk_pack_key(context.config.host, self._alias, name, context.codec.suffix)
        pack = context.upload(key, codec=self._codec).send_at_once(contents)
        listed = ListedObject(
            key=key,
            stored_bytes=pack.stored_bytes,
            raw_bytes=pack.raw_bytes,
            sha256=pack.sha256,
            codecs=pack.codecs,
            blocks=in_base64(pack.blocks),
        )
        with self._lock:
            self.new[name] = pack
            self._log.add(listed, self._unlogged.pop(name))

    def _map_pack(
        self, name: str, described: dict[str, ListReference | None], lists: list[ListReference]
    ) -> MapPack:
        earlier = self.plan.allowed.get(name)
        pack = earlier.pack if earlier else self.new[name]
        found = described.get(pack.key)
        return MapPack.of(
            pack,
            listed_in=lists.index(found) if found else -1,
            of_full=earlier.of_full if earlier else self.plan.kind == FULL,
            written=self.written.get(pack.key, ""),
        )
