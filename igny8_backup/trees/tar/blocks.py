"""Blocks of a tar, written into memory that another process may read them from."""

from __future__ import annotations

import mmap
from collections.abc import Generator
from typing import TypeAlias

from igny8_backup.streams import BLOCK
from igny8_backup.trees.fs.sparse import ZEROS

TarBlocks: TypeAlias = Generator[memoryview, None, None]
"""Each block is valid until the next one is asked for."""

BUFFER_SIZE = 2 * BLOCK + (256 << 10)
"""Bytes that a block may need: it is passed on once it holds ``BLOCK`` bytes, and the last member may be a
file of ``BLOCK`` bytes with a header and a long path."""


def new_buffer() -> memoryview:
    """Memory for a block, aligned to pages: the kernel reads several times slower into odd addresses."""
    return memoryview(mmap.mmap(-1, BUFFER_SIZE))


class TarBlock:
    """A block that is being filled; ``used`` is the number of bytes in it."""

    __slots__ = ("_buffer", "used")

    def __init__(self, buffer: memoryview) -> None:
        self._buffer = buffer
        self.used = 0

    def add(self, data: bytes | memoryview) -> None:
        """Append a copy of ``data``."""
        end = self.used + len(data)
        self._buffer[self.used : end] = data
        self.used = end

    def free(self, header: int) -> memoryview:
        """Where the next member's contents go if its header has ``header`` bytes: room for ``BLOCK`` bytes.

        In a tar that is a multiple of 512, an address into which the kernel reads fast.
        """
        return self._buffer[self.used + header :]

    def add_file(self, header: bytes, size: int, padding: int) -> None:
        """Append a member whose contents, ``size`` bytes, are in place already (``free``); and padding."""
        start = self.used + len(header)
        self._buffer[self.used : start] = header
        end = start + size
        self.used = end + padding
        self._buffer[end : self.used] = ZEROS[:padding]

    def content(self) -> memoryview:
        """The bytes added so far."""
        return self._buffer[: self.used]
