"""Read the packs of a tree, whether a pack is one object in storage or in chunks: ``TreePacks``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from threading import Lock

from igny8_backup.chunks.runs import Index, read_index
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys
from igny8_backup.formats.chunked import is_large_chunks, is_large_tar
from igny8_backup.formats.objects import StoredObject
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.read.chunked import read_chunked
from igny8_backup.streams import Blocks
from igny8_backup.streams.age import Identity

KEPT_BYTES_OF_TREE = 16 << 20
"""The reader of a tar of large files may keep so many bytes of packs for later."""


class TreePacks:
    """The tars that hold the files of a tree: its packs, and the tars of its large files.

    ``stored`` are the packs of the tree as the manifest of a backup names them.
    """

    def __init__(
        self, context: BackupContext, tree: str, stored: Iterable[StoredObject], identities: list[Identity]
    ) -> None:
        self._context = context
        self._identities = identities
        self._tree = tree
        packs = {keys.pack_of(item.key): item for item in stored}
        self._chunks = {name: item for name, item in packs.items() if is_large_chunks(item.key)}
        self._tars = {name: item for name, item in packs.items() if name not in self._chunks}
        self._joining = Lock()  # threads put one tar together at a time, which takes 40 MiB of memory

    @property
    def names(self) -> Collection[str]:
        """The names of the tars, as the index of the tree has them."""
        return self._tars.keys()

    def open(self, name: str) -> Blocks:
        """Yield the bytes of the tar ``name``.

        Raises the errors of ``BackupContext.download``, and ``IntegrityError`` if the chunks of the tar do
        not fit together. Only the end of the stream proves that they do.
        """
        stored = self._context.download(self._tars[name], self._identities)
        if is_large_tar(self._tars[name].key):
            yield from self.joined(name, stored)
        else:
            with closing(stored):
                yield from stored

    def joined(self, name: str, index: Blocks) -> Blocks:
        """Yield the bytes of the tar ``name`` of large files. ``index`` is the contents of its index.

        Waits while another thread reads a tar of large files. Raises the errors of :meth:`open`.
        """
        try:
            with self._joining:
                yield from read_chunked(
                    self._context,
                    self._read_index(name, index),
                    self._chunks,
                    self._identities,
                    name=f"The tar {name} of large files of {self._tree!r}",
                    kept_bytes=KEPT_BYTES_OF_TREE,
                )
        except IntegrityError as error:
            error.object_key = error.object_key or self._tars[name].key
            raise

    def chunks_of(self, name: str) -> list[StoredObject]:
        """Read the index of the tar ``name`` of large files; return the packs of chunks that the tar needs.

        Raises the errors of :meth:`open`.
        """
        index = self._read_index(name, self._context.download(self._tars[name], self._identities))
        return [self._chunks[pack] for pack in dict.fromkeys(index.header.packs)]

    def _read_index(self, name: str, blocks: Blocks) -> Index:
        sizes = {pack: item.raw_bytes for pack, item in self._chunks.items()}
        return read_index(blocks, self._tars[name].key, sizes)

    def objects(self, names: Collection[str]) -> Iterator[StoredObject]:
        """Yield the objects that may be needed to read the tars ``names``.

        Only the index of a tar of large files says which packs of chunks it needs, so all of them may be.
        """
        wanted = [item for name, item in self._tars.items() if name in names]
        yield from wanted
        if any(is_large_tar(item.key) for item in wanted):
            yield from self._chunks.values()
