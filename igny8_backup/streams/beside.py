"""A stage that works in a thread beside the consumer, for one that does much outside the GIL.

The stage is an ordinary one, a generator over blocks, and what it gives and where it fails is as if it ran in
the consumer's thread. It never touches the source: the consumer's thread fetches the blocks for it, a few
ahead, and goes on with what the stage has made.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

from igny8_backup.streams import Blocks
from igny8_backup.streams.handover import Ended, Stopped

T = TypeVar("T")

FETCHED_AHEAD = 2
"""Blocks of the source that wait for the stage, at most."""

MADE_AHEAD = 4
"""Blocks of the stage that the consumer has or that wait for it, at most."""


class _Taken:
    """The stage begins with a block of the source: it is time to fetch another."""


class _Exchange:
    """Where the two sides meet. ``room`` holds one entry for each block that the stage may still give."""

    def __init__(self) -> None:
        self.fetched: SimpleQueue[bytes | Exception | None] = SimpleQueue()
        self.room: SimpleQueue[None] = SimpleQueue()
        self.said: SimpleQueue[_Taken | bytes | Ended] = SimpleQueue()
        self._stopped = False
        for _ in range(MADE_AHEAD):
            self.room.put(None)

    def fetch(self, blocks: Blocks) -> None:
        """Consumer's side: the next block for the stage; at the end ``None``, or why there is no more."""
        try:
            self.fetched.put(next(blocks, None))
        except Exception as error:  # in its place: what the stage makes of the blocks before comes first
            self.fetched.put(error)

    def stop(self) -> None:
        """Consumer's side: the stage waits no more, whatever it waits for."""
        self._stopped = True
        self.fetched.put(None)
        self.room.put(None)

    def blocks(self) -> Blocks:
        """Stage's side: the source."""
        while (block := self._answer(self.fetched)) is not None:
            if isinstance(block, Exception):
                raise block
            self.said.put(_Taken())
            yield block

    def give(self, block: bytes) -> None:
        """Stage's side: a block for the consumer, as soon as there is room."""
        self._answer(self.room)
        self.said.put(block)

    def _answer(self, queue: SimpleQueue[T]) -> T:
        answer = queue.get()
        if self._stopped:
            raise Stopped
        return answer


def beside(stage: Callable[[Blocks], Blocks], blocks: Blocks) -> Blocks:
    """What ``stage(blocks)`` gives, made in a thread of its own.

    Beyond what the stage itself holds, ``FETCHED_AHEAD`` blocks of the source and ``MADE_AHEAD`` of the stage
    are in memory. What the source and the stage raise is raised here, as itself, after all that was made
    before. Closing ends the thread as soon as the stage asks for a block or gives one, and closes the source.
    """
    exchange = _Exchange()
    # Daemon: a stream that somebody forgot to close must not keep the interpreter from exiting.
    thread = threading.Thread(target=_run, args=(stage, exchange), name="igny8-backup-stage", daemon=True)
    with contextlib.closing(blocks):
        try:
            thread.start()
            for _ in range(FETCHED_AHEAD):
                exchange.fetch(blocks)
            while not isinstance(said := exchange.said.get(), Ended):
                if isinstance(said, bytes):
                    yield said
                    exchange.room.put(None)
                else:
                    exchange.fetch(blocks)
            if said.error is not None:
                raise said.error
        finally:
            exchange.stop()
            if thread.is_alive():  # not so if a signal came between while it was starting
                thread.join()


def _run(stage: Callable[[Blocks], Blocks], exchange: _Exchange) -> None:
    error: BaseException | None = None
    try:
        with contextlib.closing(stage(exchange.blocks())) as made:
            for block in made:
                exchange.give(block)
    except BaseException as caught:  # everything belongs to the consumer
        error = caught
    exchange.said.put(Ended(error))
