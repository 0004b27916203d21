"""The map of the chunks of a tree's large files: where the packs of the last backup have them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import timedelta
from typing import Self

from igny8_backup.chunks import cutter
from igny8_backup.chunks.chunk_map import SCHEMA, ChunkMap, MapHeader, MapPack, open_map
from igny8_backup.chunks.digests import DigestKey
from igny8_backup.chunks.locations import Location
from igny8_backup.chunks.map_writer import MapWriter, renumbered
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys
from igny8_backup.formats.objects import StoredObject
from igny8_backup.operations.backup.trees.local_index import index_folder
from igny8_backup.operations.backup.trees.parent_index import ParentBackup
from igny8_backup.operations.context import BackupContext

AVERAGE = 32 << 10
"""The smallest average size in bytes of the chunks of large files."""
OLDEST = timedelta(days=90)
"""Chunks in older packs are stored again when the file that they belong to has changed. So a file that
changes often does not depend on ever more packs."""


class LargeMap:
    """Says where the last backup of ``tree`` has chunks, and collects those of the backup ``backup_id``.

    Use it as a context manager. ``parent`` is the last backup; without it, no chunks are known. The map is a
    file beside the local index of a backup (``chunks.chunk_map``). ``key`` and ``seed`` are secrets of this
    host: the key of the digests, and the seed of the cutter. Methods raise ``OSError`` if the folder cannot
    be written.
    """

    key: DigestKey
    seed: int
    cutter: cutter.CutterIdentity

    def __init__(
        self, context: BackupContext, tree: str, backup_id: str, parent: ParentBackup | None
    ) -> None:
        self._context = context
        self._tree = tree
        self._id = backup_id
        self._folder = index_folder(context, tree)
        self._allowed = _young(context, parent.chunk_packs) if parent else {}
        self._size = parent.part.bytes if parent else 0
        self._parent_path = self._folder / f"{parent.backup_id}.map" if parent else None
        self._earlier: ChunkMap | None = None
        self._numbers: dict[str, int] = {}  # of packs in the new map
        self._writer: MapWriter
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._earlier = self._open()
        if self._earlier:
            self._stack.enter_context(self._earlier)
            header = self._earlier.header
            self.key, self.seed, average = DigestKey.parse(header.key), header.seed, header.cutter.average
        else:
            self.key, average = DigestKey.new(), AVERAGE
            self.seed = 1 + secrets.randbelow(cutter.SEED_LIMIT - 1)
        self.cutter = cutter.identity(max(AVERAGE, cutter.suitable_average(self._size, average)))
        if self._earlier and self._earlier.header.cutter != self.cutter:
            self._allowed = {}  # no chunk of the new cutter is in the map
        self._writer = self._stack.enter_context(MapWriter(self._folder))
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def find(self, digests: Sequence[bytes]) -> list[Location | None]:
        """Return, for each digest, where storage has its chunk; ``None`` if it must be stored."""
        if self._earlier is None or not self._allowed:
            return [None] * len(digests)
        found = self._earlier.lookup(digests)
        return [item if item and item.pack in self._allowed else None for item in found]

    def record(self, digest: bytes, location: Location) -> None:
        """Add a chunk of the new backup, and where storage has it."""
        number = self._numbers.setdefault(location.pack, len(self._numbers))
        self._writer.add(digest, number, location.offset, location.length)

    def save(self, needed: Collection[str], new: Mapping[str, StoredObject]) -> None:
        """Write the map for the next backup.

        ``needed`` are the names of the packs of chunks that this backup needs, ``new`` those that it stored.
        """
        earlier, path = self._earlier, self._folder / f"{self._id}.map"
        of_earlier = [keys.pack_of(pack.key) for pack in earlier.header.packs] if earlier else []
        kept = [name in needed and name in self._allowed for name in of_earlier]
        if not self._numbers and self._parent_path and earlier and all(kept):
            with suppress(OSError):  # for example, on a file system without hard links
                os.link(self._parent_path, path)
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
            cutter=self.cutter,
            key=self.key.text,
            seed=self.seed,
            backup_id=self._id,
            started=keys.id_time(self._id),
            full_id="",
            lists=(),
            packs=tuple(MapPack.of(new.get(name) or self._allowed[name]) for name in self._numbers),
        )
        self._writer.write(path, header, renumbered(earlier.entries(), numbers) if earlier else ())

    def _open(self) -> ChunkMap | None:
        """Open the map of the parent backup. A damaged map, or one of another storage, counts as missing."""
        try:
            found = open_map(self._parent_path) if self._parent_path else None
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


def _young(context: BackupContext, packs: Mapping[str, StoredObject]) -> dict[str, StoredObject]:
    """Return the packs that are not older than ``OLDEST``."""
    oldest = context.clock() - OLDEST
    return {name: pack for name, pack in packs.items() if keys.id_time(keys.pack_writer(name)) >= oldest}
