"""Store dumps in chunks; replace the maps of chunks at the end of the run. Entry point: ``ChunkedDumps``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from igny8_backup.chunks import cutter
from igny8_backup.chunks.chunk_map import PLACE, SCHEMA, MapHeader, MapPack
from igny8_backup.chunks.cutter import Cutter
from igny8_backup.chunks.locations import DIGEST_BYTES, Location
from igny8_backup.chunks.map_writer import MapWriter
from igny8_backup.chunks.runs import Index, to_blocks
from igny8_backup.chunks.writer import ArchiveWriter
from igny8_backup.errors import FilesError, StorageError
from igny8_backup.filesystem import make_private
from igny8_backup.formats import keys
from igny8_backup.formats.chunked import FULL, ChunkedDump, chunk_pack_key, index_key
from igny8_backup.formats.manifest import COMPLETE, DatabasePart
from igny8_backup.formats.objects import StoredObject
from igny8_backup.operations.backup.chunked.plan import DumpPlan, lost_packs, map_path, plan_dump
from igny8_backup.operations.backup.request import WHOLE_DUMP, BackupRequest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.upload import index_codec
from igny8_backup.streams import Blocks

ATTEMPTS = 2
"""If a pack that a dump needs disappears while the dump is made, the database is dumped once more."""


@dataclass
class _Attempt:
    """One attempt to store a dump: its plan, its new packs, and the map that will replace the old one.

    ``numbers`` maps the name of each pack that the dump needs to the number of the pack in the new map.
    """

    plan: DumpPlan
    map: MapWriter
    packs: dict[str, StoredObject] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)

    def record(self, digest: bytes, location: Location) -> None:
        number = self.numbers.setdefault(location.pack, len(self.numbers))
        self.map.add(digest, number, location.offset, location.length)

    def find(self, digests: Sequence[bytes]) -> list[Location | None]:
        if self.plan.chunk_map is None:
            return [None] * len(digests)
        allowed = self.plan.allowed
        return [
            location if location and location.pack in allowed else None
            for location in self.plan.chunk_map.lookup(digests)
        ]


class ChunkedDumps:
    """The dumps in chunks of one run. Use it as a context manager."""

    def __init__(self, context: BackupContext, backup_id: str, request: BackupRequest) -> None:
        self._context = context
        self._id = backup_id
        self._request = request
        self._stack = ExitStack()
        self._done: dict[str, tuple[_Attempt, DatabasePart]] = {}

    def __enter__(self) -> ChunkedDumps:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def includes(self, part: DatabasePart) -> bool:
        """Return whether the database is to be dumped in chunks.

        If the compiled cutter is missing, returns false, and notes that the dump is stored whole instead.
        """
        chosen = part.alias in self._context.config.chunked_dumps and part.engine == "postgresql"
        if not chosen or self._request.safety or self._request.dump_kind == WHOLE_DUMP:
            return False
        if not cutter.compiled_version():
            self._context.progress.note(
                f"WARNING: {part.alias}: the dump is stored whole, because the compiled cutter is not"
                " installed. Install it: pip install --only-binary :all: pyfastcdc."
            )
            return False
        return True

    def store(
        self, part: DatabasePart, dump: Callable[[], Blocks], size: int | None, damaged: Collection[str]
    ) -> DatabasePart:
        """Dump a database and store the dump; return ``part`` with its index and packs.

        ``dump`` starts ``pg_dump`` and yields the archive. ``size`` is the size of the database in bytes.
        ``damaged`` are the keys of objects to which the dump must not refer. Raises the errors of ``dump``,
        ``StorageError`` and ``FilesError``.
        """
        context, used = self._context, 0
        for _ in range(ATTEMPTS):
            forced = self._request.dump_kind or (FULL if self._request.full else "")
            plan = plan_dump(context, part, self._id, forced=forced, size=size, damaged=damaged)
            self._stack.callback(plan.close)
            self._note(part, plan)
            attempt = _Attempt(plan, self._new_map(part.alias))
            index = self._write(part.alias, attempt, dump(), used)
            used += len(attempt.packs)
            found = attempt.packs | dict(plan.allowed)
            packs = tuple(sorted((found[name] for name in index.header.packs), key=lambda pack: pack.key))
            done = replace(part, state=COMPLETE, packs=packs)
            if lost := lost_packs(context, done):
                context.progress.note(
                    f"{part.alias}: {lost[0]} disappeared from storage while the database was dumped. It is"
                    " dumped again, without this pack."
                )
                continue
            key = index_key(self._id, part.alias, context.codec.suffix)
            upload = context.upload(key, codec=index_codec(context.codec), claimed=True)
            done = replace(done, object=upload.send(to_blocks(index)), chunked=self._describe(plan, index))
            self._done[part.alias] = attempt, done
            return done
        raise StorageError(
            f"Packs that the dump of {part.alias!r} needs disappeared from storage twice while it was made.",
            unchanged="The other databases and trees of this backup are not affected.",
            hint="Find out what deletes objects in the storage. Then run the backup again.",
        )

    def save_maps(self, suspects: Collection[str]) -> None:
        """Replace the maps of the databases that this run has dumped. Call this after storing the manifest.

        The maps of the databases ``suspects`` are not replaced, so that their next dumps refer to earlier,
        good dumps. If a map cannot be written, the old map stays, and a note says so.
        """
        for alias, (attempt, part) in self._done.items():
            if alias not in suspects:
                try:
                    self._save_map(alias, attempt, part)
                except OSError as error:
                    self._context.progress.note(
                        f"WARNING: {alias}: the map of its chunks could not be written to"
                        f" {map_path(self._context, alias).parent}: {error.strerror}. The next"
                        " dump stores all that changed since the last map."
                    )

    def _save_map(self, alias: str, attempt: _Attempt, part: DatabasePart) -> None:
        plan, context = attempt.plan, self._context
        new_numbers: list[int | None] = []
        if plan.chunk_map:
            for pack in plan.chunk_map.header.packs:
                name, numbers = keys.pack_of(pack.key), attempt.numbers
                keep = name in plan.allowed and keys.pack_writer(name) == plan.full_id
                new_numbers.append(numbers.setdefault(name, len(numbers)) if keep else None)
        found = attempt.packs | dict(plan.allowed)
        header = MapHeader(
            schema=SCHEMA,
            storage=context.store.identity(),
            prefix=context.config.prefix,
            host=context.config.host,
            alias=alias,
            recipients=tuple(context.codec.recipients),
            cutter=cutter.identity(plan.average),
            key=plan.key.hex(),
            seed=plan.seed,
            backup_id=self._id,
            started=part.started,
            full_id=plan.full_id,
            packs=tuple(_map_pack(found[name]) for name in attempt.numbers),
        )
        of_full = {n for name, n in attempt.numbers.items() if keys.pack_writer(name) == plan.full_id}
        earlier = _renumbered(plan.chunk_map.entries(), new_numbers) if plan.chunk_map else ()
        attempt.map.write(map_path(context, alias), header, earlier, of_full)

    def _write(self, alias: str, attempt: _Attempt, blocks: Blocks, used: int) -> Index:
        """Store the new packs of a dump. Earlier attempts to store it have taken ``used`` pack names."""
        context, plan = self._context, attempt.plan

        def store(name: str, contents: Blocks) -> None:
            key = chunk_pack_key(context.config.host, alias, name, context.codec.suffix)
            attempt.packs[name] = context.upload(key).send(contents)

        writer = ArchiveWriter(
            Cutter(cutter.identity(plan.average), plan.seed),
            plan.key,
            find=attempt.find,
            pack_name=lambda number: keys.pack_name(self._id, used + number),
            store=store,
            record=attempt.record,
        )
        try:
            return writer.write(blocks)
        except OSError as error:
            raise _state_error(context, error) from None

    def _new_map(self, alias: str) -> MapWriter:
        folder = map_path(self._context, alias).parent
        try:
            make_private(folder)
        except OSError as error:
            raise _state_error(self._context, error) from None
        return self._stack.enter_context(MapWriter(folder))

    def _describe(self, plan: DumpPlan, index: Index) -> ChunkedDump:
        return ChunkedDump(
            kind=plan.kind,
            bytes=index.header.bytes,
            archive_sha256=index.header.sha256,
            full_id=plan.full_id,
            full_started=plan.full_started,
            differential_id=plan.differential_id,
        )

    def _note(self, part: DatabasePart, plan: DumpPlan) -> None:
        if plan.reason:
            self._context.progress.note(f"{part.alias}: the dump is a full one, because {plan.reason}.")


def lost_dump_pack(context: BackupContext, part: DatabasePart) -> StorageError | None:
    """Return an error if storage no longer has an object of earlier backups that the dump needs.

    Raises ``StorageError`` if the storage cannot be listed.
    """
    if not (lost := lost_packs(context, part)):
        return None
    return StorageError(
        f"{lost[0]}, which the dump of {part.alias!r} needs, disappeared from storage during this backup. The"
        " earlier backups that need it are damaged.",
        unchanged="The other databases and trees of this backup are not affected.",
        hint=f"Store the whole database again: python manage.py backup_db {part.alias} --full.",
    )


def _renumbered(entries: Iterable[bytes], numbers: Sequence[int | None]) -> Iterator[bytes]:
    """Change pack numbers in the entries of a map to ``numbers[old]``; omit entries that get ``None``."""
    for entry in entries:
        old, offset, length = PLACE.unpack_from(entry, DIGEST_BYTES)
        if old < len(numbers) and (number := numbers[old]) is not None:
            yield entry[:DIGEST_BYTES] + PLACE.pack(number, offset, length)


def _map_pack(pack: StoredObject) -> MapPack:
    return MapPack(key=pack.key, stored_bytes=pack.stored_bytes, raw_bytes=pack.raw_bytes, sha256=pack.sha256)


def _state_error(context: BackupContext, error: OSError) -> FilesError:
    return FilesError(
        f"The folder of maps of chunks in {context.config.state_dir} cannot be written: {error.strerror}.",
        unchanged="This database is not in the backup.",
        hint="Free some space there, or move IGNY8_BACKUP['STATE_DIR'] to a persistent volume.",
    )
