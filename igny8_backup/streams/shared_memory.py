"""Pass blocks between two processes through shared memory.

A pipe copies every byte twice and holds at most 1 MiB, so the writer waits while the reader works. Here each
process copies a block once, and the writer can be several blocks ahead. Only small messages go through pipes:
which slot has been filled, and which is free again. Entry points: ``Slots`` and ``Sender``.
"""

from __future__ import annotations

import mmap
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from igny8_backup.errors import ToolError
from igny8_backup.streams import BLOCK

COUNT = 4
"""Number of slots: the compressor reads up to two blocks at a time (``zstd.JOB``)."""

SIZE = 2 * BLOCK + (256 << 10)
"""Bytes in a slot. The part that no block has filled takes no memory."""


class Slots:
    """Memory that two processes share: ``COUNT`` slots of ``SIZE`` bytes each.

    The first process creates the memory, and the second process inherits its descriptor ``fd`` (``pass_fds``)
    and calls ``Slots(fd)``. Each process closes its own ``Slots``. Raises ``ToolError`` if the system
    provides no memory.
    """

    def __init__(self, fd: int | None = None) -> None:
        try:
            self.fd = _create_unnamed_file(COUNT * SIZE) if fd is None else fd
            try:
                self._memory = mmap.mmap(self.fd, COUNT * SIZE)
            except BaseException:
                os.close(self.fd)
                raise
        except OSError as error:
            raise ToolError(
                f"Memory to share with a worker process could not be allocated: {error.strerror}.",
                hint=f"It needs {COUNT * SIZE >> 20} MiB. Raise the limits of memory and open files, or set"
                " TMPDIR to a folder with free space.",
            ) from None

    def memory(self, slot: int) -> memoryview:
        """Return the memory of the slot with this number: ``SIZE`` bytes."""
        start = slot * SIZE
        return memoryview(self._memory)[start : start + SIZE]

    def close(self) -> None:
        # The traceback of an exception may hold a view; the memory is freed with the last view.
        with suppress(BufferError):
            self._memory.close()
        os.close(self.fd)


class Sender:
    """The sending end of shared memory: fills its slots and announces each to the other process.

    ``announce`` is called with the length of a block and the number of its slot. ``wait_free`` waits until
    the other process has read a slot. It returns the numbers of the slots that are free again, one byte each,
    or ``b""`` if the other process has ended.
    """

    def __init__(
        self, slots: Slots, *, announce: Callable[[int, int], None], wait_free: Callable[[], bytes]
    ) -> None:
        self._slots = slots
        self._announce = announce
        self._wait_free = wait_free
        self._free = deque(range(COUNT))
        self._used = 0  # bytes in the next slot, from earlier calls of send()

    def free_slot(self) -> memoryview:
        """Return the ``SIZE`` bytes of a free slot, to be filled and announced with ``send_slot``.

        Raises ``BrokenPipeError`` if the other process has ended.
        """
        if not self._free:
            self._free.extend(self._wait_free())
        if not self._free:
            raise BrokenPipeError
        return self._slots.memory(self._free[0])

    def send_slot(self, length: int) -> None:
        """Announce the first ``length`` bytes of the slot that ``free_slot`` returned."""
        self._announce(length, self._free.popleft())

    def send(self, block: bytes) -> None:
        """Send bytes of any length; small pieces are collected in one slot. Call ``flush`` after the last.

        Raises ``BrokenPipeError`` if the other process has ended.
        """
        rest = memoryview(block)
        while rest:
            with self.free_slot() as memory:
                piece = rest[: SIZE - self._used]
                memory[self._used : self._used + len(piece)] = piece
            self._used += len(piece)
            rest = rest[len(piece) :]
            if self._used >= BLOCK:
                self.flush()

    def send_aside(self, block: bytes, announce: Callable[[int, int], None]) -> None:
        """Send ``block``, of at most ``SIZE`` bytes, while the caller is filling the slot of ``free_slot``.

        The block goes through another slot, which ``announce`` announces. Raises ``BrokenPipeError`` if the
        other process has ended.
        """
        while len(self._free) < 2:
            if not (freed := self._wait_free()):
                raise BrokenPipeError
            self._free.extend(freed)
        slot = self._free[1]
        del self._free[1]
        self._slots.memory(slot)[: len(block)] = block
        announce(len(block), slot)

    def flush(self) -> None:
        """Send the bytes that ``send`` has collected and not sent yet."""
        if self._used:
            self.send_slot(self._used)
            self._used = 0


def _create_unnamed_file(size: int) -> int:
    """Create a file without a name, in memory, and return its descriptor.

    Where memfd_create(2) is missing or forbidden (``vm.memfd_noexec``, seccomp), the file is on disk.
    """
    try:
        fd = os.memfd_create("igny8_backup")
    except (AttributeError, OSError):
        import tempfile  # rarely needed, and it takes long to import

        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd
