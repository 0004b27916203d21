"""Turn a function that copies one file object to another into a step of a stream.

Some libraries read from one file object and write to another until they are done. ``pull_through`` runs such
a copy loop in a thread and yields the bytes that the loop writes.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, cast

from igny8_backup.streams import BLOCK, Blocks
from igny8_backup.streams.thread_stage import Emit, produce_in_thread

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

CopyLoop = Callable[[BinaryIO, BinaryIO], None]
"""A function that reads its first argument to the end and writes to its second. It need not flush or close
these files."""


def pull_through(loop: CopyLoop, blocks: Blocks) -> Blocks:
    """Run ``loop`` in a thread, let it read ``blocks`` as a file, and yield what it writes to another file.

    Yielded blocks have about ``BLOCK`` bytes. Exceptions of the loop and of ``blocks`` are raised here
    unchanged. Closing the stream ends the thread as soon as the loop reads or writes, and closes ``blocks``.
    Memory: see ``produce_in_thread``.
    """

    def produce(source: Blocks, emit: Emit) -> None:
        _LoopFiles(source, emit).run(loop)

    return produce_in_thread(produce, blocks)


class _LoopFiles:
    """What the two files of a copy loop share, such as the first exception of either.

    A library may swallow or wrap an exception and go on; pyrage swallows an exception of the last write. So
    the exception is stored here and raised at the end.
    """

    def __init__(self, source: Blocks, emit: Emit) -> None:
        self._source = source
        self._emit = emit
        self.failure: BaseException | None = None

    def run(self, loop: CopyLoop) -> None:
        # The loop may read and write small pieces; only whole blocks pass between the threads.
        reader: BinaryIO = io.BufferedReader(_Input(self), BLOCK)
        writer = cast(BinaryIO, _Output(self))
        try:
            loop(reader, writer)
            writer.flush()
        except BaseException as error:
            self.failure = self.failure or error
        failure = self.failure
        self.failure = failure or EOFError()  # so that closing the writer emits nothing after a failure
        writer.close()
        reader.close()
        if failure is not None:
            raise failure

    def next_block(self) -> bytes:
        """Return the next block of the input, ``b""`` at its end.

        If one of the two file objects has raised an exception, raises that exception again.
        """
        if self.failure is not None:
            raise self.failure
        try:
            # An empty block, which no source should yield, is not the end.
            return next((block for block in self._source if block), b"")
        except BaseException as error:
            self.failure = error
            raise

    def emit(self, block: bytes) -> None:
        """Pass a block of output to the consumer of the stream.

        If one of the two file objects has raised an exception, the block is dropped.
        """
        if self.failure is None:
            try:
                self._emit(block)
            except BaseException as error:
                self.failure = error
                raise


class _Input(io.RawIOBase):
    """The file object that a copy loop reads: ``read`` returns bytes of the input stream."""

    def __init__(self, files: _LoopFiles) -> None:
        self._files = files
        self._block = memoryview(b"")
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        if not self._block and not self._ended:
            self._block = memoryview(self._files.next_block())
            self._ended = not self._block
        with memoryview(buffer).cast("B") as target:
            size = min(len(target), len(self._block))
            target[:size] = self._block[:size]
        self._block = self._block[size:]
        return size


class _Output(io.RawIOBase):
    """The file object that a copy loop writes to. It collects small pieces into blocks of output."""

    def __init__(self, files: _LoopFiles) -> None:
        self._files = files
        self._pieces: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            piece = bytes(data)
        except BaseException as error:
            self._files.failure = self._files.failure or error
            raise
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size >= BLOCK:
            self.flush()
        return len(piece)

    def flush(self) -> None:
        block = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        if block:
            self._files.emit(block)
