"""Blocks of a tar, written into memory that another process may share."""

from __future__ import annotations

import mmap
from collections.abc import Generator
from typing import TypeAlias

from igny8_backup.streams import BLOCK
from igny8_backup.trees.fs.sparse import ZEROS

TarBlocks: TypeAlias = Generator[memoryview, None, None]
"""Blocks of a tar. Each is valid until the next one is requested."""

BUFFER_SIZE = 2 * BLOCK + (256 << 10)
"""Largest number of bytes in a block. A block is complete once it holds ``BLOCK`` bytes, and the last member
may be a file of ``BLOCK`` bytes with a header and a long path."""


def new_buffer() -> memoryview:
    """Return memory for a block, aligned to pages: the kernel reads much slower into other addresses."""
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
        """Return the memory for the contents of the next member, whose header has ``header`` bytes.

        At least ``BLOCK`` bytes are free. In a tar its offset is a multiple of 512, into which the kernel
        reads fast.
        """
        return self._buffer[self.used + header :]

    def add_file(self, header: bytes, size: int, padding: int) -> None:
        """Append a member and padding; its contents of ``size`` bytes are already in place (``free``)."""
        start = self.used + len(header)
        self._buffer[self.used : start] = header
        end = start + size
        self.used = end + padding
        self._buffer[end : self.used] = ZEROS[:padding]

    def content(self) -> memoryview:
        """The bytes added so far."""
        return self._buffer[: self.used]
