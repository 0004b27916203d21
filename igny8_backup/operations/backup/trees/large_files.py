"""Store the large files of a tree in chunks, so that a changed file costs what has changed: ``LargeFiles``.

Large files are in tars of their own. A tar is cut into chunks by content, and only chunks that the last
backup does not have are stored, in packs. The index of the tar lists the ranges of packs that make it up.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from queue import Queue
from threading import Event
from typing import Self

from igny8_backup.chunks import cutter
from igny8_backup.chunks.chunk_map import SCHEMA, ChunkMap, MapHeader, MapPack, open_map
from igny8_backup.chunks.cutter import Cutter
from igny8_backup.chunks.locations import KEY_BYTES, Location
from igny8_backup.chunks.map_writer import MapWriter, renumbered
from igny8_backup.chunks.runs import Index, to_blocks
from igny8_backup.chunks.writer import ArchiveWriter
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys
from igny8_backup.formats.chunked import (
    large_chunks_key,
    large_chunks_name,
    large_tar_key,
    large_tar_name,
)
from igny8_backup.formats.objects import StoredObject
from igny8_backup.operations.backup.thread_context import context_for_thread
from igny8_backup.operations.backup.trees.local_index import LargeTar, index_folder
from igny8_backup.operations.backup.trees.parent_index import ParentBackup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.transfer.upload import index_codec
from igny8_backup.streams import Blocks

AVERAGE = 32 << 10
"""The smallest average size in bytes of the chunks of large files."""
OLDEST = timedelta(days=90)
"""Chunks in older packs are stored again when the file that they belong to has changed. So a file that
changes often does not depend on ever more packs."""
_AHEAD = 2  # blocks of 1 MiB that wait for the thread that cuts them


def large_in_chunks(context: BackupContext, tree: str) -> bool:
    """Return whether the large files of ``tree`` are to be stored in chunks.

    If the compiled cutter is missing, returns false, and notes that they are stored whole instead.
    """
    if tree not in context.config.chunked_trees:
        return False
    if not cutter.compiled_version():
        context.progress.note(
            f"WARNING: {tree}: large files are stored whole, because the compiled cutter is not installed."
            " Install it: pip install --only-binary :all: pyfastcdc."
        )
        return False
    return True


class _Stopped(Exception):
    """The backup of the tree has failed elsewhere."""


class LargeFiles:
    """Stores the tars of the large files of ``tree`` in the backup ``backup_id``.

    Use it as a context manager. Chunks that ``parent`` has, the backup with which the tree is compared, are
    not stored again. Without it, all chunks are stored. A thread cuts, hashes and stores the chunks. Its
    errors, such as ``StorageError``, are raised by the next call of a method. ``waiting_for`` is called when
    the tree is not read because the storage takes long, and when it is read again.
    """

    def __init__(
        self,
        context: BackupContext,
        tree: str,
        backup_id: str,
        parent: ParentBackup | None,
        waiting_for: Callable[[str], None] = lambda party: None,
    ) -> None:
        self.tars: dict[str, LargeTar] = {}
        """The tars that this run has stored, by name."""
        self._context = context
        self._tree = tree
        self._id = backup_id
        self._waiting_for = waiting_for
        # The compressor of the ordinary packs runs at the same time. More threads would need more memory.
        self._codec = replace(context.files_codec, workers=0)
        self._folder = index_folder(context, tree)
        self._allowed = _young(context, parent.chunk_packs) if parent else {}
        self._size = parent.part.bytes if parent else 0
        self._parent_map = self._folder / f"{parent.backup_id}.map" if parent else None
        self._new: dict[str, StoredObject] = {}
        self._indexes: dict[str, Index] = {}
        self._numbers: dict[str, int] = {}  # of packs in the new map
        self._stack = ExitStack()
        self._earlier: ChunkMap | None = None
        self._map: MapWriter
        self._of_thread: BackupContext
        self._key: bytes
        self._seed: int
        self._average: int
        self._pool: ThreadPoolExecutor
        self._queue: Queue[bytes | None] = Queue(_AHEAD)
        self._writing: Future[Index] | None = None
        self._ended = False  # the thread has read the end of the tar
        self._failed, self._stopped = Event(), Event()

    def __enter__(self) -> Self:
        self._earlier = self._open_map()
        if self._earlier:
            self._stack.enter_context(self._earlier)
            header = self._earlier.header
            self._key, self._seed, average = bytes.fromhex(header.key), header.seed, header.cutter.average
        else:
            self._key, average = secrets.token_bytes(KEY_BYTES), AVERAGE
            self._seed = 1 + secrets.randbelow(cutter.SEED_LIMIT - 1)
        self._average = max(AVERAGE, cutter.suitable_average(self._size, average))
        self._map = self._stack.enter_context(MapWriter(self._folder))
        self._of_thread = self._stack.enter_context(context_for_thread(self._context))
        self._pool = self._stack.enter_context(ThreadPoolExecutor(1, "igny8-backup-large"))
        return self

    def __exit__(self, *exception: object) -> None:
        if self._writing:
            self._stopped.set()
            self._queue.put(None)
        self._stack.close()

    def add(self, block: bytes) -> None:
        """Add the next block of a tar. The first block begins a tar."""
        if self._writing is None:
            self._ended = False
            self._writing = self._pool.submit(self._write)
        if self._failed.is_set():
            self.end_tar()
        with self._waiting():
            self._queue.put(block)

    def end_tar(self) -> None:
        """End the tar, and wait until its chunks are stored."""
        if self._writing is None:
            return
        with self._waiting():
            self._queue.put(None)
            writing, self._writing = self._writing, None
            index = writing.result()
        name = large_tar_name(self._id, len(self.tars) + 1)
        self.tars[name] = LargeTar(bytes=index.header.bytes, packs=index.header.packs)
        self._indexes[name] = index

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        self._waiting_for("the storage")
        yield
        self._waiting_for("the files")

    def store_indexes(self) -> list[StoredObject]:
        """Store the index of each tar. Return these objects, and the packs of chunks that were stored."""
        context, suffix = self._context, self._codec.suffix
        stored = []
        for name, index in self._indexes.items():
            key = large_tar_key(context.config.host, self._tree, name, suffix)
            upload = context.upload(key, codec=index_codec(self._codec))
            stored.append(upload.send(to_blocks(index)))
        return [*stored, *self._new.values()]

    def save_map(self, needed: Collection[str]) -> None:
        """Write the map of the chunks in the packs ``needed``, for the next backup.

        ``needed`` are the names of the packs of chunks that this backup needs. Raises ``OSError``.
        """
        path = self._folder / f"{self._id}.map"
        earlier = self._earlier
        of_earlier = [keys.pack_of(pack.key) for pack in earlier.header.packs] if earlier else []
        known = self._allowed if earlier and self._cutter() == earlier.header.cutter else {}
        kept = [name in needed and name in known for name in of_earlier]
        if not self.tars and self._parent_map and all(kept) and earlier:
            with suppress(OSError):  # for example, on a file system without hard links
                os.link(self._parent_map, path)
                return
        numbers = [
            self._numbers.setdefault(name, len(self._numbers)) if keep else None
            for name, keep in zip(of_earlier, kept, strict=True)
        ]
        if not self._numbers:
            return
        context = self._context
        header = MapHeader(
            schema=SCHEMA,
            storage=context.store.identity(),
            prefix=context.config.prefix,
            host=context.config.host,
            alias=self._tree,
            recipients=tuple(context.codec.recipients),
            cutter=self._cutter(),
            key=self._key.hex(),
            seed=self._seed,
            backup_id=self._id,
            started=keys.id_time(self._id),
            full_id="",
            lists=(),
            packs=tuple(map(self._map_pack, self._numbers)),
        )
        self._map.write(path, header, renumbered(earlier.entries(), numbers) if earlier else ())

    def _open_map(self) -> ChunkMap | None:
        """Open the map of the parent backup. A damaged map, or one of another storage, counts as missing."""
        try:
            found = open_map(self._parent_map) if self._parent_map else None
        except (IntegrityError, OSError):
            return None
        if found is None:
            return None
        context, header = self._context, found.header
        place = (context.store.identity(), context.config.prefix, context.config.host, self._tree)
        if (header.storage, header.prefix, header.host, header.alias) == place:
            return found
        found.close()
        return None

    def _cutter(self) -> cutter.CutterIdentity:
        return cutter.identity(self._average)

    def _write(self) -> Index:
        """In the thread: store the chunks of one tar, and return its index."""
        try:
            writer = ArchiveWriter(
                Cutter(self._cutter(), self._seed),
                self._key,
                find=self._find,
                new_name=self._new_name,
                store=self._store,
                record=self._record,
            )
            return writer.write(self._blocks())
        except BaseException:
            self._failed.set()
            while not self._ended:  # or ``add`` would wait for ever
                self._ended = self._queue.get() is None
            raise

    def _blocks(self) -> Blocks:
        while (block := self._queue.get()) is not None:
            if self._stopped.is_set():
                raise _Stopped
            yield block
        self._ended = True
        if self._stopped.is_set():
            raise _Stopped

    def _find(self, digests: Sequence[bytes]) -> list[Location | None]:
        if self._earlier is None or self._earlier.header.cutter != self._cutter():
            return [None] * len(digests)
        found = self._earlier.lookup(digests)
        return [item if item and item.pack in self._allowed else None for item in found]

    def _new_name(self) -> str:
        return large_chunks_name(self._id, len(self._new) + 1)

    def _store(self, name: str, contents: Blocks) -> None:
        key = large_chunks_key(self._context.config.host, self._tree, name, self._codec.suffix)
        self._new[name] = self._of_thread.upload(key, codec=self._codec).send(contents)

    def _record(self, digest: bytes, location: Location) -> None:
        number = self._numbers.setdefault(location.pack, len(self._numbers))
        self._map.add(digest, number, location.offset, location.length)

    def _map_pack(self, name: str) -> MapPack:
        pack = self._new.get(name) or self._allowed[name]
        return MapPack(
            key=pack.key,
            stored_bytes=pack.stored_bytes,
            raw_bytes=pack.raw_bytes,
            sha256=pack.sha256,
            listed_in=-1,
            of_full=False,
            written="",
        )


def _young(context: BackupContext, packs: Mapping[str, StoredObject]) -> dict[str, StoredObject]:
    """Return the packs that are not older than ``OLDEST``."""
    oldest = context.clock() - OLDEST
    return {name: pack for name, pack in packs.items() if keys.id_time(keys.pack_writer(name)) >= oldest}
