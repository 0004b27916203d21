"""The path of every object from raw bytes to storage.

:class:`Upload` compresses, encrypts, counts and hashes one object on its way to the store.
"""

from __future__ import annotations

import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from igny8_backup.formats.manifest import StoredObject
from igny8_backup.store import Store
from igny8_backup.streams import Blocks, Views
from igny8_backup.streams.observe import Digest, count
from igny8_backup.streams.pipeline import Codec

_INDEX_LEVEL = 1
"""Most of an index is digests, which do not compress. Higher levels find only short chance repetitions:
level 1 makes the index a twelfth smaller than level 2, in half the time."""


def index_codec(codec: Codec) -> Codec:
    """The codec for a tree's index, where ``codec`` is that of its packs: without compressor threads, which
    cost memory. There is time enough to compress the index without them."""
    return replace(codec, level=_INDEX_LEVEL, workers=0)


class Upload:
    """One object on its way to storage: compressed, encrypted, counted and hashed as the bytes pass.

    Call one of the ``send`` methods, once; it returns what the manifest records of the object. ``claimed``
    is passed to :meth:`Store.put`: nothing lies under ``key``, and nobody else writes there.

    Every ``send`` raises ``StorageError`` and whatever the blocks raise; then nothing is left in storage.
    """

    def __init__(self, store: Store, key: str, codec: Codec, *, claimed: bool = False) -> None:
        self._store = store
        self._key = key
        self._codec = codec
        self._claimed = claimed
        self._raw_bytes = 0
        self._stored = Digest()

    def send(self, blocks: Views, *, estimate: int | None = None) -> StoredObject:
        """Stream ``blocks`` to storage. ``estimate`` is their total size in bytes, if known."""
        self._store.put(self._key, self._encode(blocks), estimate=estimate, claimed=self._claimed)
        return self._result()

    def send_by_file(self, blocks: Views, folder: Path) -> StoredObject:
        """Encode ``blocks`` into an unnamed file in ``folder`` first, so that the storage knows the length.

        ``folder`` must be private. Raises also ``OSError`` if the file cannot be written.
        """
        with closing(self._encode(blocks)) as encoded, tempfile.TemporaryFile(dir=folder) as file:
            file.writelines(encoded)
            self._store.put_file(self._key, file, claimed=self._claimed)
        return self._result()

    def _encode(self, blocks: Views) -> Blocks:
        return self._stored.watch(self._codec.encode(count(blocks, self._count)))

    def _count(self, size: int) -> None:
        self._raw_bytes += size

    def _result(self) -> StoredObject:
        return StoredObject(
            key=self._key,
            stored_bytes=self._stored.size,
            raw_bytes=self._raw_bytes,
            sha256=self._stored.sha256,
            codecs=self._codec.names,
        )
