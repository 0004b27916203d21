"""Write large files into tars of their own, which are stored in chunks (see ``formats.chunked``).

These tars have the format of packs. They are sent beside the packs, while the tree is walked.
"""

from __future__ import annotations

from collections.abc import Callable

from igny8_backup.formats.chunked import large_tar_name
from igny8_backup.streams import BLOCK
from igny8_backup.trees.tar import format as tar

LARGE = 8 << 20
"""Files of at least this many bytes are large."""
TAR_LIMIT = 512 << 20
"""The largest number of bytes in a tar of large files, unless one file alone is larger. A restore of one file
reads its whole tar."""


class LargeTars:
    """Writes the tars of large files of the backup ``backup_id``.

    ``send`` is called with each block of a tar, about ``BLOCK`` bytes, and ``end`` after its last block.
    """

    def __init__(
        self,
        backup_id: str,
        *,
        send: Callable[[bytes], object],
        end: Callable[[], object],
        limit: int = TAR_LIMIT,
    ) -> None:
        self._backup_id = backup_id
        self._send = send
        self._end = end
        self._limit = limit
        self._number = 0
        self._used = 0  # bytes in the present tar
        self._pieces: list[bytes] = []
        self._size = 0  # bytes in ``_pieces``

    def begin_file(self, size: int) -> str:
        """Return the name of the tar for the next file, of ``size`` bytes. It may be a new tar."""
        if self._used and self._used + size > self._limit:
            self.finish()
        if not self._used:
            self._number += 1
        return large_tar_name(self._backup_id, self._number)

    def add(self, piece: bytes) -> None:
        """Append ``piece``, of at most ``BLOCK`` bytes, to the tar."""
        self._used += len(piece)
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size >= BLOCK:
            self._flush()

    def finish(self) -> None:
        """End the present tar, if there is one."""
        if self._used:
            self.add(tar.END)
            self._flush()
            self._end()
            self._used = 0

    def _flush(self) -> None:
        if self._pieces:
            self._send(b"".join(self._pieces))
            self._pieces = []
            self._size = 0
