"""Compress, encrypt, hash and store objects, as fast as ``MAX_UPLOAD_RATE`` allows: :class:`Upload`."""

from __future__ import annotations

import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from igny8_backup.formats.lists import BLOCK_BYTES
from igny8_backup.formats.objects import StoredObject
from igny8_backup.store import Store
from igny8_backup.store.small import blocks_of
from igny8_backup.streams import Blocks, Views
from igny8_backup.streams.observe import BlockDigests, count
from igny8_backup.streams.pipeline import Codec

_INDEX_LEVEL = 1
"""Compression level of an index, which consists mostly of digests. Level 1 makes it a twelfth smaller than
level 2, in half the time, because higher levels encode many short repetitions that occur by chance."""


def index_codec(codec: Codec) -> Codec:
    """Return the codec for the index (file list) of a tree, given the ``codec`` for its tar archives.

    The index is small, so it is compressed without extra threads, which would need much memory.
    """
    return replace(codec, level=_INDEX_LEVEL, workers=0)


class Upload:
    """The upload of one object, which is compressed, encrypted, counted and hashed as it is sent.

    Call one of the ``send`` methods, once. It returns the :class:`StoredObject` for the manifest, with the
    digests of its blocks. ``claimed``: no object exists under ``key``, and no other run writes there (see
    :meth:`Store.put`).

    The ``send`` methods raise ``StorageError``, and any error that reading the blocks raises. In both cases
    no object is left in storage.
    """

    def __init__(self, store: Store, key: str, codec: Codec, *, claimed: bool = False) -> None:
        self._store = store
        self._key = key
        self._codec = codec
        self._claimed = claimed
        self._raw_bytes = 0
        self._stored = BlockDigests(BLOCK_BYTES)

    def send(self, blocks: Views, *, estimate: int | None = None) -> StoredObject:
        """Stream ``blocks`` to storage. ``estimate`` is their total size in bytes, if known."""
        return self._send(self._encode(blocks), estimate)

    def send_at_once(self, content: bytes | memoryview) -> StoredObject:
        """Compress ``content`` in one piece, which takes less time than a stream, and send it to storage."""
        self._raw_bytes = len(content)
        return self._send(self._stored.watch(self._codec.encode_at_once(content)), len(content))

    def send_by_file(self, blocks: Views, folder: Path) -> StoredObject:
        """Encode ``blocks`` into an unnamed file in ``folder``, then store the file, whose size is known.

        ``folder`` must be private. If the rate is limited, the file is sent as a stream, because a file that
        is sent in one request is sent as fast as possible. Also raises ``OSError`` if the file cannot be
        written.
        """
        with closing(self._encode(blocks)) as encoded, tempfile.TemporaryFile(dir=folder) as file:
            file.writelines(encoded)
            if self._store.rate.bytes_per_second is None:
                self._store.put_file(self._key, file, claimed=self._claimed)
            else:
                size = file.tell()
                file.seek(0)
                paced = self._store.rate.pace(blocks_of(file))
                self._store.put(self._key, paced, estimate=size, claimed=self._claimed)
        return self._result()

    def _send(self, encoded: Blocks, estimate: int | None) -> StoredObject:
        paced = self._store.rate.pace(encoded)
        self._store.put(self._key, paced, estimate=estimate, claimed=self._claimed)
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
            blocks=self._stored.blocks,
        )
