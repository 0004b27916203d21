"""A push loop, seen as a stage.

Some libraries read from one file object and write to another until they are done, and cannot be pulled. Such
a loop runs in a thread beside the consumer.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, cast

from igny8_backup.streams import BLOCK, Blocks
from igny8_backup.streams.thread_stage import Give, made_beside

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

Push = Callable[[BinaryIO, BinaryIO], None]
"""Reads the one to its end, writes to the other, and returns; neither closes nor needs to flush them."""


def pull_through(push: Push, blocks: Blocks) -> Blocks:
    """What ``push`` writes while it reads ``blocks``, in blocks of about ``BLOCK`` bytes.

    What ``push`` raises is raised here, and so is what the source raises, as itself. Closing ends the
    thread as soon as it reads or writes, and closes the source. Memory: as ``made_beside``.
    """

    def work(source: Blocks, give: Give) -> None:
        _Loop(source, give).run(push)

    return made_beside(work, blocks)


class _Loop:
    """Both ends of a push loop, and what failed first in one of them: a library may lose or disguise what its
    file objects raised (pyrage loses a failed last write), and may go on after it."""

    def __init__(self, source: Blocks, give: Give) -> None:
        self._source = source
        self._give = give
        self.failure: BaseException | None = None

    def run(self, push: Push) -> None:
        # The push loop may work in small pieces; what it reads and writes are blocks.
        reader: BinaryIO = io.BufferedReader(_Input(self), BLOCK)
        writer = cast(BinaryIO, _Output(self))
        try:
            push(reader, writer)
            writer.flush()
        except BaseException as error:
            self.failure = self.failure or error
        failure = self.failure
        self.failure = failure or EOFError()  # what is still buffered after a failure is not given
        writer.close()
        reader.close()
        if failure is not None:
            raise failure

    def take(self) -> bytes:
        """The next block, ``b""`` at the end. After a failure that failure, for ever."""
        if self.failure is not None:
            raise self.failure
        try:
            # An empty block, which no source should give, is not the end.
            return next((block for block in self._source if block), b"")
        except BaseException as error:
            self.failure = error
            raise

    def give(self, block: bytes) -> None:
        """Hand a block on. After a failure there is nobody to take it: it is dropped without a fuss."""
        if self.failure is None:
            try:
                self._give(block)
            except BaseException as error:
                self.failure = error
                raise


class _Input(io.RawIOBase):
    def __init__(self, loop: _Loop) -> None:
        self._loop = loop
        self._block = memoryview(b"")
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        if not self._block and not self._ended:
            self._block = memoryview(self._loop.take())
            self._ended = not self._block
        with memoryview(buffer).cast("B") as target:
            size = min(len(target), len(self._block))
            target[:size] = self._block[:size]
        self._block = self._block[size:]
        return size


class _Output(io.RawIOBase):
    """Gathers pieces of any size to about a block, so that each hand-over carries one."""

    def __init__(self, loop: _Loop) -> None:
        self._loop = loop
        self._pieces: list[bytes] = []
        self._held = 0

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            piece = bytes(data)
        except BaseException as error:
            self._loop.failure = self._loop.failure or error
            raise
        self._pieces.append(piece)
        self._held += len(piece)
        if self._held >= BLOCK:
            self.flush()
        return len(piece)

    def flush(self) -> None:
        block = b"".join(self._pieces)
        self._pieces.clear()
        self._held = 0
        if block:
            self._loop.give(block)
