"""Read a stream as a file: :class:`BlockReader`.

A module of its own, so that extract workers need not load the libraries for encryption and compression.
"""

from __future__ import annotations

import io
import os

from igny8_backup.streams import Blocks


class BlockReader(io.BufferedIOBase):
    """A stream as a file object that can be read once, from start to end.

    ``read(n)`` returns exactly ``n`` bytes except at the end. After an error of the stream every later
    ``read`` raises it again, so that code that retries never sees an end of file.
    """

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._block = b""
        self._offset = 0
        self._position = 0
        self._error: BaseException | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        """Read ``size`` bytes, fewer only at the end; without a size, everything (for small streams)."""
        wanted = -1 if size is None else size
        pieces: list[bytes] = []
        while wanted and (piece := self.read1(wanted)):
            pieces.append(piece)
            wanted -= len(piece) if wanted > 0 else 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read1(self, size: int = -1, /) -> bytes:
        """Read at most ``size`` bytes of one block; ``b""`` only at the end."""
        if self.closed:
            raise ValueError("read of a closed stream")
        if self._offset == len(self._block) and size:
            self._block, self._offset = self._next_block(), 0
        start = self._offset
        self._offset = len(self._block) if size < 0 else min(start + size, len(self._block))
        self._position += self._offset - start
        return self._block[start : self._offset]  # slicing a complete block copies nothing

    def _next_block(self) -> bytes:
        if self._error is not None:
            raise self._error
        try:
            # An empty block, which no source should yield, is not the end.
            return next((block for block in self._blocks if block), b"")
        except BaseException as error:
            self._error = error
            raise

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        """Return the number of bytes read so far."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Accept only ``seek(0)`` before the first read, as Django and S3 clients call it before an upload.

        Any other call raises ``io.UnsupportedOperation``.
        """
        if (offset, whence, self._position) != (0, os.SEEK_SET, 0):
            raise io.UnsupportedOperation("a stream goes forwards only")
        return 0

    def close(self) -> None:
        """Close the stream and everything that it reads from."""
        if not self.closed:
            try:
                self._blocks.close()
            finally:
                super().close()
