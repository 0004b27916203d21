"""Blocks of a tar, written into memory that somebody else may read them from."""

from __future__ import annotations

import mmap
from collections.abc import Generator
from typing import TypeAlias

from igny8_backup.streams import BLOCK

TarBlocks: TypeAlias = Generator[memoryview, None, None]
"""Each is good until the next is asked for."""

ROOM = 2 * BLOCK + (64 << 10)
"""Bytes that a block may need: it is handed on when there are ``BLOCK`` or more, and the last of them may
come with a small file, its header and all."""


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

    def content(self) -> memoryview:
        """What has been added."""
        return self._room[: self.used]
