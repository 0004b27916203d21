"""Blocks of a tar, written into memory that somebody else may read them from."""

from __future__ import annotations

import mmap
from collections.abc import Generator
from typing import TypeAlias

from igny8_backup.streams import BLOCK
from igny8_backup.trees.fs.sparse import ZEROS

TarBlocks: TypeAlias = Generator[memoryview, None, None]
"""Each is good until the next is asked for."""

ROOM = 2 * BLOCK + (256 << 10)
"""Bytes that a block may need: it is handed on when there are ``BLOCK`` or more, and the last of them may
come with a small file and its header, long path and all."""


def new_room() -> memoryview:
    """Memory for a block. Whole pages: the kernel reads into odd addresses several times slower."""
    return memoryview(mmap.mmap(-1, ROOM))


class TarBlock:
    """A block being filled; ``used`` bytes are."""

    __slots__ = ("_room", "used")

    def __init__(self, room: memoryview) -> None:
        self._room = room
        self.used = 0

    def add(self, data: bytes | memoryview) -> None:
        """Append a copy."""
        end = self.used + len(data)
        self._room[self.used : end] = data
        self.used = end

    def free(self, header: int) -> memoryview:
        """Where the contents of the next member go, if its header takes so many bytes: for ``BLOCK`` bytes of
        them there is room. A tar has them at multiples of 512, to which the kernel reads fast.
        """
        return self._room[self.used + header :]

    def add_file(self, header: bytes, size: int, padding: int) -> None:
        """Append a member whose contents, of ``size`` bytes, are in their place already (``free``), and so
        many zeros."""
        start = self.used + len(header)
        self._room[self.used : start] = header
        end = start + size
        self.used = end + padding
        self._room[end : self.used] = ZEROS[:padding]

    def content(self) -> memoryview:
        """What has been added."""
        return self._room[: self.used]
