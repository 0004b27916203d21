"""Run a stage (one step of a chain of streams) in a thread of its own.

This suits stages that do much work outside the GIL, and stages that are no generators (``pull_adapter``).
Output and exceptions are the same as without the thread. The thread never touches the source: the consumer's
thread fetches source blocks for it in advance, and receives the finished blocks. Entry points:
``run_in_thread`` and ``produce_in_thread``.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeAlias, TypeVar

from igny8_backup.streams import Blocks
from igny8_backup.streams.interrupts import delay_interrupts

T = TypeVar("T")

Emit: TypeAlias = Callable[[bytes], None]

Producer: TypeAlias = Callable[[Blocks, Emit], None]
"""A function that reads blocks from its first argument and passes finished blocks to its second. Once the
consumer has closed the stream, both raise an exception, which ends the function."""

FETCHED_AHEAD = 1
"""Largest number of source blocks that wait for the producer."""

MADE_AHEAD = 2
"""Largest number of finished blocks in memory, including the one that the consumer is working on."""


class _Stopped(Exception):
    """The exception that ends the thread of a stage after the stream was closed."""


class _SourceBlockUsed:
    """Message from the thread of a stage: it has taken an input block, so the next one can be fetched."""


class _Finished:
    """Message from the thread of a stage: it has ended, with ``error`` if it failed."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Exchange:
    """The queues between the consumer's thread and the producer's, which runs the stage.

    ``permits`` has one entry for each finished block that may still be put into the queue for the consumer.
    """

    def __init__(self) -> None:
        self.fetched: SimpleQueue[bytes | Exception | None] = SimpleQueue()
        self.permits: SimpleQueue[None] = SimpleQueue()
        self.messages: SimpleQueue[_SourceBlockUsed | bytes | _Finished] = SimpleQueue()
        self._stopped = False
        for _ in range(MADE_AHEAD):
            self.permits.put(None)

    def fetch(self, blocks: Blocks) -> None:
        """In the consumer's thread: read the next input block and queue it for the producer.

        ``None`` is queued at the end of ``blocks``, and an exception of ``blocks`` is queued like a block.
        """
        try:
            self.fetched.put(next(blocks, None))
        except Exception as error:  # queued like a block: the output of earlier blocks comes first
            self.fetched.put(error)

    def stop(self) -> None:
        """In the consumer's thread: stop the producer, even while it waits for a block or for free room."""
        self._stopped = True
        self.fetched.put(None)
        self.permits.put(None)

    def blocks(self) -> Blocks:
        """In the producer's thread: yield the input blocks that the consumer's thread has read."""
        while (block := self._get(self.fetched)) is not None:
            if isinstance(block, Exception):
                raise block
            self.messages.put(_SourceBlockUsed())
            yield block

    def emit(self, block: bytes) -> None:
        """In the producer's thread: pass a finished block to the consumer; wait while too many are queued."""
        self._get(self.permits)
        self.messages.put(block)

    def _get(self, queue: SimpleQueue[T]) -> T:
        item = queue.get()
        if self._stopped:
            raise _Stopped
        return item


def run_in_thread(stage: Callable[[Blocks], Blocks], blocks: Blocks) -> Blocks:
    """Run the generator ``stage(blocks)`` in a thread of its own and yield its blocks.

    Memory, exceptions and closing are as for ``produce_in_thread``.
    """

    def produce(source: Blocks, emit: Emit) -> None:
        with contextlib.closing(stage(source)) as made:
            for block in made:
                emit(block)

    return produce_in_thread(produce, blocks)


def produce_in_thread(produce: Producer, blocks: Blocks) -> Blocks:
    """Call ``produce(blocks, emit)`` in a thread of its own and yield the blocks that it emits.

    In addition to the producer's own memory, at most ``FETCHED_AHEAD`` blocks of the source and
    ``MADE_AHEAD`` finished blocks are in memory. Exceptions of the source and of the producer are raised here
    unchanged, after all blocks that were emitted before them. Closing the stream ends the thread as soon as
    it requests or emits a block, and closes the source.
    """
    exchange = _Exchange()
    # Daemon: a stream that was never closed must not keep the interpreter from exiting.
    thread = threading.Thread(target=_run, args=(produce, exchange), name="igny8-backup-stream", daemon=True)
    with contextlib.closing(blocks):
        try:
            with delay_interrupts():  # an exception inside start() leaves a lock that nobody releases
                thread.start()
            for _ in range(FETCHED_AHEAD):
                exchange.fetch(blocks)
            while not isinstance(message := exchange.messages.get(), _Finished):
                if isinstance(message, _SourceBlockUsed):
                    exchange.fetch(blocks)
                else:
                    yield message
                    exchange.permits.put(None)
            if message.error is not None:
                raise message.error
        finally:
            try:
                exchange.stop()
            finally:  # again: a signal may have interrupted the first call
                exchange.stop()
                if thread.is_alive():  # false if a signal came before the start
                    thread.join()


def _run(produce: Producer, exchange: _Exchange) -> None:
    error: BaseException | None = None
    try:
        produce(exchange.blocks(), exchange.emit)
    except BaseException as caught:  # every exception is raised in the consumer's thread
        error = caught
    exchange.messages.put(_Finished(error))
