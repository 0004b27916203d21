"""Work in a thread beside the consumer, for what does much outside the GIL, or cannot be pulled.

What it gives and where it fails is as if it ran in the consumer's thread. It never touches the source: the
consumer's thread fetches the blocks for it, a few ahead, and goes on with what it has made.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeAlias, TypeVar

from igny8_backup.streams import Blocks
from igny8_backup.streams.interrupts import held_back

T = TypeVar("T")

Give: TypeAlias = Callable[[bytes], None]

Work: TypeAlias = Callable[[Blocks, Give], None]
"""Takes its blocks from the one and gives those that it makes to the other. Both raise when nobody wants any
more: it then ends."""

FETCHED_AHEAD = 1
"""Blocks of the source that wait for the work, at most."""

MADE_AHEAD = 2
"""Blocks that were made and that the consumer has or that wait for it, at most."""


class _Stopped(Exception):
    """Ends the work when nobody wants its blocks any more."""


class _Taken:
    """The thread begins with a block of the source: it is time to fetch another."""


class _Ended:
    """The thread is done."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Exchange:
    """Where the two sides meet. ``room`` holds one entry for each block that may still be given."""

    def __init__(self) -> None:
        self.fetched: SimpleQueue[bytes | Exception | None] = SimpleQueue()
        self.room: SimpleQueue[None] = SimpleQueue()
        self.said: SimpleQueue[_Taken | bytes | _Ended] = SimpleQueue()
        self._stopped = False
        for _ in range(MADE_AHEAD):
            self.room.put(None)

    def fetch(self, blocks: Blocks) -> None:
        """Consumer's side: the next block of the source; at the end ``None``, or why there is no more."""
        try:
            self.fetched.put(next(blocks, None))
        except Exception as error:  # in its place: what is made of the blocks before comes first
            self.fetched.put(error)

    def stop(self) -> None:
        """Consumer's side: the thread waits no more, whatever it waits for."""
        self._stopped = True
        self.fetched.put(None)
        self.room.put(None)

    def blocks(self) -> Blocks:
        """Thread's side: the source."""
        while (block := self._answer(self.fetched)) is not None:
            if isinstance(block, Exception):
                raise block
            self.said.put(_Taken())
            yield block

    def give(self, block: bytes) -> None:
        """Thread's side: a block for the consumer, as soon as there is room."""
        self._answer(self.room)
        self.said.put(block)

    def _answer(self, queue: SimpleQueue[T]) -> T:
        answer = queue.get()
        if self._stopped:
            raise _Stopped
        return answer


def run_in_thread(stage: Callable[[Blocks], Blocks], blocks: Blocks) -> Blocks:
    """What ``stage(blocks)`` gives, made in a thread of its own: see ``made_beside``."""

    def work(source: Blocks, give: Give) -> None:
        with contextlib.closing(stage(source)) as made:
            for block in made:
                give(block)

    return made_beside(work, blocks)


def made_beside(work: Work, blocks: Blocks) -> Blocks:
    """What ``work`` makes of the blocks, in a thread of its own.

    Beyond what it holds itself, ``FETCHED_AHEAD`` blocks of the source and ``MADE_AHEAD`` that it made are in
    memory. What the source and the work raise is raised here, as itself, after all that was made before.
    Closing ends the thread as soon as it asks for a block or gives one, and closes the source.
    """
    exchange = _Exchange()
    # Daemon: a stream that somebody forgot to close must not keep the interpreter from exiting.
    thread = threading.Thread(target=_run, args=(work, exchange), name="igny8-backup-stream", daemon=True)
    with contextlib.closing(blocks):
        try:
            with held_back():  # an exception within it leaves a lock behind that nobody holds
                thread.start()
            for _ in range(FETCHED_AHEAD):
                exchange.fetch(blocks)
            while not isinstance(said := exchange.said.get(), _Ended):
                if isinstance(said, _Taken):
                    exchange.fetch(blocks)
                else:
                    yield said
                    exchange.room.put(None)
            if said.error is not None:
                raise said.error
        finally:
            try:
                exchange.stop()
            finally:  # once more: a signal may have come in the middle of it
                exchange.stop()
                if thread.is_alive():  # not so if a signal came before it was started
                    thread.join()


def _run(work: Work, exchange: _Exchange) -> None:
    error: BaseException | None = None
    try:
        work(exchange.blocks(), exchange.give)
    except BaseException as caught:  # everything belongs to the consumer
        error = caught
    exchange.said.put(_Ended(error))
