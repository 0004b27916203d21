"""Memory that two processes share, to hand blocks from one to the other.

A pipe copies every byte twice, and holds 1 MiB at most, so that the writer waits while the reader is at
work. Here a block is copied once on each side, and the writer is some blocks ahead. What goes through pipes
is small: which slot is filled, and which is free again.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from igny8_backup.errors import ToolError
from igny8_backup.streams import BLOCK

COUNT = 6
"""Slots: the compressor takes its input in gulps, of some blocks at a time (``zstd.JOB``)."""

SIZE = 2 * BLOCK + (256 << 10)
"""Bytes in a slot. What a block does not fill of it takes no memory."""


class Slots:
    """``COUNT`` pieces of shared memory of ``SIZE`` bytes. Both processes close it.

    Without a descriptor the memory is made, and ``fd`` is for the other process (``pass_fds``), which gives
    it here. Raises ``ToolError`` where the system refuses.
    """

    def __init__(self, fd: int | None = None) -> None:
        try:
            self.fd = _unnamed(COUNT * SIZE) if fd is None else fd
            try:
                self._memory = mmap.mmap(self.fd, COUNT * SIZE)
            except BaseException:
                os.close(self.fd)
                raise
        except OSError as error:
            raise ToolError(
                f"No memory can be had to share with a process of our own: {error.strerror}.",
                hint=f"It takes {COUNT * SIZE >> 20} MiB: raise the limits of memory and of open files, or"
                " point TMPDIR at a folder with room.",
            ) from None

    def room(self, slot: int) -> memoryview:
        """The memory of a slot, ``SIZE`` bytes."""
        start = slot * SIZE
        return memoryview(self._memory)[start : start + SIZE]

    def close(self) -> None:
        # An error on its way may hold a view of it; then the memory goes when the last of them does.
        with suppress(BufferError):
            self._memory.close()
        os.close(self.fd)


class Sender:
    """The side that fills. ``tell`` says a length and the slot; ``freed`` waits for the numbers of slots that
    are free again, one byte each, and gives none when nobody takes any more."""

    def __init__(self, slots: Slots, *, tell: Callable[[int, int], None], freed: Callable[[], bytes]) -> None:
        self._slots = slots
        self._tell = tell
        self._freed = freed
        self._free = deque(range(COUNT))
        self._used = 0  # bytes of blocks that are in the next slot already

    def room(self) -> memoryview:
        """The memory of a slot that is free, ``SIZE`` bytes, to be filled from the front and then ``sent``.

        Raises ``BrokenPipeError`` when nobody takes any more.
        """
        if not self._free:
            self._free.extend(self._freed())
        if not self._free:
            raise BrokenPipeError
        return self._slots.room(self._free[0])

    def sent(self, length: int) -> None:
        """Hand on what is in that slot now."""
        self._tell(length, self._free.popleft())

    def send(self, block: bytes) -> None:
        """Hand on bytes of any length, small ones together; ``flush`` after the last. Raises
        ``BrokenPipeError`` when nobody takes any more."""
        rest = memoryview(block)
        while rest:
            with self.room() as room:
                piece = rest[: SIZE - self._used]
                room[self._used : self._used + len(piece)] = piece
            self._used += len(piece)
            rest = rest[len(piece) :]
            if self._used >= BLOCK:
                self.flush()

    def flush(self) -> None:
        """Hand on what waits for more."""
        if self._used:
            self.sent(self._used)
            self._used = 0


def _unnamed(size: int) -> int:
    """A file without a name: in memory, or in the folder for such files where there is no memfd_create(2) or
    the system forbids it (``vm.memfd_noexec``, a filter of system calls)."""
    try:
        fd = os.memfd_create("igny8_backup")
    except (AttributeError, OSError):
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd
