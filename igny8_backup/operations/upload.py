"""The path of every object from raw bytes to storage.

:class:`Upload` compresses, encrypts, counts and hashes one object on its way to the store.
:func:`upload_index` does the same to the index of a tree while another process still writes that index.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import BinaryIO

from igny8_backup.formats.manifest import StoredObject
from igny8_backup.store import Store
from igny8_backup.streams import Blocks, Views
from igny8_backup.streams.follow import LOOK, GrowingFile
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
        self._store.put(self._key, self.encode(blocks), estimate=estimate, claimed=self._claimed)
        return self._result()

    def send_by_file(self, blocks: Views, folder: Path) -> StoredObject:
        """Encode ``blocks`` into an unnamed file in ``folder`` first, so that the storage knows the length.

        ``folder`` must be private. Raises also ``OSError`` if the file cannot be written.
        """
        with closing(self.encode(blocks)) as encoded, tempfile.TemporaryFile(dir=folder) as file:
            file.writelines(encoded)
            return self.send_encoded(file)

    def send_encoded(self, file: BinaryIO) -> StoredObject:
        """Store a file that holds the output of :meth:`encode`."""
        self._store.put_file(self._key, file, claimed=self._claimed)
        return self._result()

    def encode(self, blocks: Views) -> Blocks:
        """Return the bytes to store."""
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


class IndexUpload:
    """An index that a thread encodes into ``file`` while the archive worker still writes it to ``path``."""

    def __init__(self, upload: Upload, path: Path, file: BinaryIO, poll: float | None) -> None:
        self._upload = upload
        self._growing = GrowingFile(path, look=poll)
        self._raw = Digest()
        self._file = file
        self._error: BaseException | None = None
        # Daemon: it must not keep the interpreter from exiting, whatever an interrupt cuts short.
        self._thread = Thread(target=self._encode, name="igny8_backup-index", daemon=True)
        self._thread.start()

    @property
    def sha256(self) -> str:
        """SHA-256 of the index before it is encoded; available after :meth:`finish`."""
        return self._raw.sha256

    def finish(self) -> StoredObject:
        """Store the index; the worker has written all of it. Raises ``StorageError``, ``OSError``."""
        self._growing.complete()
        self._thread.join()
        if self._error:
            raise self._error
        return self._upload.send_encoded(self._file)

    def stop(self) -> None:
        """Stop encoding. Does nothing after :meth:`finish`."""
        self._growing.give_up()
        self._thread.join()

    def _encode(self) -> None:
        try:
            with closing(self._upload.encode(self._raw.watch(self._growing.blocks()))) as blocks:
                self._file.writelines(blocks)
        except BaseException as error:  # raised again by finish()
            self._error = error


@contextmanager
def upload_index(upload: Upload, path: Path, *, at_end: bool = False) -> Iterator[IndexUpload]:
    """Create the file ``path`` for the archive worker to write an index to, and encode it in a thread.

    Encoding during the walk leaves only the last lines for the end. With ``at_end`` the thread waits for the
    end of the walk, because packs need the memory and the processors until then. The encoded index lies in
    an unnamed file in the folder of ``path``, which must be private. Raises ``OSError``.
    """
    path.touch(mode=0o600)
    with tempfile.TemporaryFile(dir=path.parent) as file:
        index = IndexUpload(upload, path, file, None if at_end else LOOK)
        try:
            yield index
        finally:
            index.stop()
