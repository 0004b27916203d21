"""Content on its way into what is stored; and a file encoded while it is still being written."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import BinaryIO

from igny8_backup.formats.manifest import StoredObject
from igny8_backup.store import Store
from igny8_backup.streams import Views
from igny8_backup.streams.follow import LOOK, GrowingFile
from igny8_backup.streams.observe import Digest, count
from igny8_backup.streams.pipeline import Codec

_INDEX_LEVEL = 1
"""Most of an index is digests. To search them for longer finds more repetitions, short ones that are chance,
and they cost more than they save: level 1 makes it a twelfth smaller than level 2, in half the time."""


def codec_of_index(codec: Codec) -> Codec:
    """How the index of a tree is written whose packs are written so: without threads of the compressor, which
    take memory, since it has time."""
    return replace(codec, level=_INDEX_LEVEL, workers=0)


class Encoding:
    """``blocks``: what the codec makes of those given. ``on_bytes`` hears of raw bytes as they pass."""

    def __init__(self, blocks: Views, codec: Codec, on_bytes: Callable[[int], None] | None = None) -> None:
        self._codec = codec
        self._on_bytes = on_bytes
        self._raw = 0
        self._stored = Digest()
        self.blocks = self._stored.watch(codec.encode(count(blocks, self._passed)))

    def stored_as(self, key: str) -> StoredObject:
        """What a manifest says of them, once all have passed."""
        return StoredObject(
            key=key,
            stored_bytes=self._stored.size,
            raw_bytes=self._raw,
            sha256=self._stored.sha256,
            codecs=self._codec.names,
        )

    def _passed(self, amount: int) -> None:
        self._raw += amount
        if self._on_bytes:
            self._on_bytes(amount)


class GrowingIndex:
    """An index that is encoded while the process that reads the tree still writes it."""

    def __init__(self, path: Path, codec: Codec, file: BinaryIO, look: float | None) -> None:
        self._growing = GrowingFile(path, look=look)
        self._readable = Digest()
        self._encoding = Encoding(self._readable.watch(self._growing.blocks()), codec_of_index(codec))
        self._file = file
        self._error: BaseException | None = None
        # Daemon: it must not keep the interpreter from exiting, whatever an interrupt cuts short.
        self._thread = Thread(target=self._encode, name="igny8_backup-index", daemon=True)
        self._thread.start()

    @property
    def sha256(self) -> str:
        """Of the readable index, once it is stored."""
        return self._readable.sha256

    def store(self, store: Store, key: str) -> StoredObject:
        """Stores the index, which is whole now, under a key of a claimed id. Raises ``StorageError``,
        ``OSError``."""
        self._growing.complete()
        self._thread.join()
        if self._error:
            raise self._error
        store.put_file(key, self._file, claimed=True)
        return self._encoding.stored_as(key)

    def give_up(self) -> None:
        """Nothing more is to be encoded; nothing happens where all is."""
        self._growing.give_up()
        self._thread.join()

    def _encode(self) -> None:
        try:
            with closing(self._encoding.blocks) as blocks:
                self._file.writelines(blocks)
        except BaseException as error:  # for the thread that asks for the result
            self._error = error


@contextmanager
def encoded_in_thread(path: Path, codec: Codec, *, at_end: bool = False) -> Iterator[GrowingIndex]:
    """Makes the file ``path``, in a private folder, for another process to write an index to; a thread
    encodes it meanwhile, so that at the end of the walk only the little that came last is left to be done.
    ``at_end``: it waits for that end, because until then memory and processors are needed for packs.

    What it is encoded to lies in the same folder, in a file without a name. Raises ``OSError``.
    """
    path.touch(mode=0o600)
    with tempfile.TemporaryFile(dir=path.parent) as file:
        index = GrowingIndex(path, codec, file, None if at_end else LOOK)
        try:
            yield index
        finally:
            index.give_up()
