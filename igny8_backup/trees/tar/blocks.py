"""The blocks (about 1 MiB each) of a tar, filled in memory that another process may share."""

from __future__ import annotations

import mmap
from collections.abc import Generator
from typing import TypeAlias

from igny8_backup.streams import BLOCK
from igny8_backup.trees.fs.sparse import ZEROS

TarBlocks: TypeAlias = Generator[memoryview, None, None]
"""Blocks of a tar. Each is valid until the next one is requested."""

BUFFER_SIZE = 2 * BLOCK + (256 << 10)
"""Largest number of bytes in a block.

A member is added to a block that holds fewer than ``BLOCK`` bytes. The member can itself be a file of
``BLOCK`` bytes, with a header and a long path.
"""


def new_buffer() -> memoryview:
    """Return memory for a block of a tar, aligned to pages because the kernel then reads much faster."""
    return memoryview(mmap.mmap(-1, BUFFER_SIZE))


class TarBlock:
    """A block of a tar while it is filled; ``used`` is the number of bytes in it."""

    __slots__ = ("_buffer", "used")

    def __init__(self, buffer: memoryview) -> None:
        self._buffer = buffer
        self.used = 0

    def add(self, data: bytes | memoryview) -> None:
        """Append a copy of ``data`` to the block."""
        end = self.used + len(data)
        self._buffer[self.used : end] = data
        self.used = end

    def free(self, header: int) -> memoryview:
        """Return the memory for the contents of the next member, whose header has ``header`` bytes.

        The memory has room for at least ``BLOCK`` bytes. It begins at a multiple of 512 bytes, like all
        contents in a tar, so the kernel can read a file into it fast.
        """
        return self._buffer[self.used + header :]

    def add_file(self, header: bytes, size: int, padding: int) -> None:
        """Append a file whose ``size`` bytes are already in the memory that ``free`` returned.

        ``padding`` is the number of zero bytes to append after the contents.
        """
        start = self.used + len(header)
        self._buffer[self.used : start] = header
        end = start + size
        self.used = end + padding
        self._buffer[end : self.used] = ZEROS[:padding]

    def content(self) -> memoryview:
        """The bytes of the block so far."""
        return self._buffer[: self.used]
