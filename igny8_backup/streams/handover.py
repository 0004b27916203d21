"""A push loop, seen as a stage: a coroutine made of a thread.

Some libraries read from one file object and write to another until they are done, and cannot be pulled. Such
a loop runs in a thread of its own, in strict alternation with the consumer: while one of the two runs, the
other waits. The thread never touches the source; the consumer's thread fetches each block for it.
"""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, BinaryIO, cast

from igny8_backup.streams import BLOCK, Blocks

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

Push = Callable[[BinaryIO, BinaryIO], None]
"""Reads the one to its end, writes to the other, and returns; neither closes nor needs to flush them."""


class Stopped(Exception):
    """Ends the push loop when nobody wants its output any more."""


class _MoreInput:
    """The thread asks for the next block."""


class Ended:
    """The thread is done."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Exchange:
    """Where the two sides meet: the thread says what it wants or has, and waits for the answer."""

    def __init__(self) -> None:
        self.said: SimpleQueue[_MoreInput | bytes | Ended] = SimpleQueue()
        self.answers: SimpleQueue[bytes | None] = SimpleQueue()
        self.failure: BaseException | None = None

    def ask(self, message: _MoreInput | bytes) -> bytes:
        """Thread side: the next input block, or b"" as a mere receipt; ``Stopped`` for ever once stopped."""
        if self.failure is None:
            self.said.put(message)
            answer = self.answers.get()
            if answer is not None:
                return answer
            self.failure = Stopped()
        raise self.failure


class _Input(io.RawIOBase):
    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange
        self._block = memoryview(b"")
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        if not self._block and not self._ended:
            self._block = memoryview(self._exchange.ask(_MoreInput()))
            self._ended = not self._block
        with memoryview(buffer).cast("B") as target:
            size = min(len(target), len(self._block))
            target[:size] = self._block[:size]
        self._block = self._block[size:]
        return size


class _Output(io.RawIOBase):
    """Gathers pieces of any size to about a block, so that each hand-over carries one."""

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange
        self._pieces: list[bytes] = []
        self._held = 0

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            piece = bytes(data)
            self._pieces.append(piece)
            self._held += len(piece)
            if self._held >= BLOCK:
                self.flush()
        except BaseException as error:
            self._exchange.failure = self._exchange.failure or error
            raise
        return len(piece)

    def flush(self) -> None:
        block = b"".join(self._pieces)
        self._pieces.clear()
        self._held = 0
        # After a failure there is nobody to take it: it is dropped without a fuss.
        if block and self._exchange.failure is None:
            self._exchange.ask(block)


def pull_through(push: Push, blocks: Blocks) -> Blocks:
    """What ``push`` writes while it reads ``blocks``, in blocks of about ``BLOCK`` bytes.

    What ``push`` raises is raised here, and so is what the source raises, as itself. Closing ends the
    thread, whatever it is doing, and closes the source.
    """
    exchange = _Exchange()
    # Daemon: a stream that somebody forgot to close must not keep the interpreter from exiting.
    thread = threading.Thread(target=_run, args=(push, exchange), name="igny8-backup-stream", daemon=True)
    with contextlib.closing(blocks):
        try:
            thread.start()
            while not isinstance(said := exchange.said.get(), Ended):
                if isinstance(said, bytes):
                    yield said
                    exchange.answers.put(b"")
                else:
                    # An empty block, which no source should give, is not the end either.
                    exchange.answers.put(next((block for block in blocks if block), b""))
            if said.error is not None:
                raise said.error
        finally:
            exchange.answers.put(None)
            if thread.is_alive():  # not so if a signal came between while it was starting
                thread.join()


def _run(push: Push, exchange: _Exchange) -> None:
    # The push loop may work in small pieces; each hand-over should carry a block.
    reader: BinaryIO = io.BufferedReader(_Input(exchange), BLOCK)
    writer = cast(BinaryIO, _Output(exchange))
    error: BaseException | None = None
    try:
        push(reader, writer)
        writer.flush()
    except BaseException as caught:  # everything belongs to the consumer
        error = caught
    # A library may lose or disguise what its file objects raised; pyrage loses a failed last write.
    error = exchange.failure or error
    exchange.failure = error or Stopped()
    writer.close()
    reader.close()
    exchange.said.put(Ended(error))
