"""Store the large files of a tree in chunks, so that a changed file costs what has changed: ``LargeFiles``.

Large files are in tars of their own. A tar is cut into chunks by content, and only chunks that the last
backup does not have are stored, in packs. The index of the tar lists the ranges of packs that make it up.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from queue import Queue
from threading import Event
from typing import Self

from igny8_backup.chunks import cutter
from igny8_backup.chunks.cutter import Cutter
from igny8_backup.chunks.runs import Index, to_blocks
from igny8_backup.chunks.writer import ArchiveWriter
from igny8_backup.formats.chunked import (
    large_chunks_key,
    large_chunks_name,
    large_tar_key,
    large_tar_name,
)
from igny8_backup.formats.objects import StoredObject
from igny8_backup.operations.backup.trees.large_map import LargeMap
from igny8_backup.operations.backup.trees.local_index import LargeTar
from igny8_backup.operations.backup.trees.parent_index import ParentBackup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.read.thread_context import context_for_thread
from igny8_backup.operations.transfer.upload import index_codec
from igny8_backup.streams import Blocks
from igny8_backup.streams.interrupts import submit
from igny8_backup.streams.stop import Stop

SHARE_OF_WINDOW = 4
"""The writer has this part of the memory for a window, because ordinary packs are stored at the same time."""
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
    """The backup of the tree has failed while the thread was at work, so its chunks are not needed."""


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
        self._codec = context.files_codec
        self._map = LargeMap(context, tree, backup_id, parent)
        self._new: dict[str, StoredObject] = {}
        self._indexes: dict[str, Index] = {}
        self._stack = ExitStack()
        self._of_thread: BackupContext
        self._pool: ThreadPoolExecutor
        self._queue: Queue[bytes | None] = Queue(_AHEAD)
        self._writing: Future[Index] | None = None
        self._ended = False  # the thread has read the end of the tar
        self._failed, self._stopped = Event(), Stop()

    def __enter__(self) -> Self:
        self._stack.enter_context(self._map)
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
            self._writing = submit(self._pool, self._stopped.call, self._write)
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
            index = self._writing.result()
        self._writing = None
        name = large_tar_name(self._id, len(self.tars) + 1)
        self.tars[name] = LargeTar(bytes=index.header.bytes, packs=index.header.packs)
        self._indexes[name] = index

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

        ``needed`` are the names of all packs that this backup needs. Raises ``OSError``.
        """
        self._map.save(needed, self._new)

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        self._waiting_for("the storage")
        yield
        self._waiting_for("the files")

    def _write(self) -> Index:
        """In the thread: store the chunks of one tar, and return its index."""
        try:
            writer = ArchiveWriter(
                Cutter(self._map.cutter, self._map.seed),
                self._map.key,
                find=self._map.find,
                new_name=self._new_name,
                store=self._store,
                record=self._map.record,
                writers=SHARE_OF_WINDOW,
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

    def _new_name(self) -> str:
        return large_chunks_name(self._id, len(self._new) + 1)

    def _store(self, name: str, contents: memoryview) -> None:
        if self._stopped.is_set():
            raise _Stopped
        key = large_chunks_key(self._context.config.host, self._tree, name, self._codec.suffix)
        self._new[name] = self._of_thread.upload(key, codec=self._codec).send_at_once(contents)
