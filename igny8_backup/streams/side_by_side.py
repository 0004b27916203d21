"""Run functions that read streams in several threads: :func:`run_side_by_side`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from threading import Thread
from typing import Generic, TypeVar

from igny8_backup.common.outside import is_from_outside
from igny8_backup.streams import Blocks
from igny8_backup.streams.stop import Stop

T = TypeVar("T")
MOST_STREAMS = 3
"""At most this many archives of one dump are stored or restored at the same time.

A backup may use 160 MiB of memory. With two archives side by side it peaked at 127 MiB, with three at
155, and with four at 187, client programs included."""
MOST_CHUNKED_STREAMS = 2
"""At most this many archives of one dump are cut into chunks at the same time.

A backup of two peaked at 148 MiB of memory, and one of three at 176."""


class Stopped(Exception):
    """A function was stopped because another one that ran beside it failed."""


class Guard:
    """Stops a function once another one that runs beside it has failed, which sets ``failed``."""

    def __init__(self, failed: Stop) -> None:
        self._failed = failed

    def check(self) -> None:
        """Raise :class:`Stopped` if another function has failed."""
        if self._failed.is_set():
            raise Stopped

    def __call__(self, blocks: Blocks) -> Blocks:
        """Yield the blocks of a stream, and call :meth:`check` before each."""
        with closing(blocks):
            for block in blocks:
                self.check()
                yield block


def streams_at_once(wanted: int, *, chunked: bool) -> int:
    """Return how many of the ``wanted`` archives are stored at the same time. ``chunked``: in chunks."""
    return min(wanted, MOST_CHUNKED_STREAMS if chunked else MOST_STREAMS)


def run_side_by_side(functions: Sequence[Callable[[Guard], T]], threads: int) -> list[T]:
    """Call ``functions`` in order, at most ``threads`` at the same time; return their results in order.

    Each function is called with a :class:`Guard`, through which it must read its stream, and which it must
    check while it waits for something else. If a function fails, this stops the others at their next block or
    check, and before they repeat a request to storage. After all have ended, the first exception is raised,
    but one that ends the work from outside (``is_from_outside``) rather than a failure. The calling thread is
    one of the threads, so an interrupt of it stops all.
    """
    runner = _Runner(functions)
    others = [
        Thread(target=runner.work, name="side by side") for _ in range(min(threads, len(functions)) - 1)
    ]
    try:
        for thread in others:
            thread.start()
        runner.work()
        for thread in others:
            thread.join()
    except BaseException:
        runner.stopped.set()
        raise
    finally:
        for thread in others:
            if thread.ident is not None:
                thread.join()
    if runner.errors:
        raise next(filter(is_from_outside, runner.errors), runner.errors[0])
    return [runner.results[number] for number in range(len(functions))]


class _Runner(Generic[T]):
    def __init__(self, functions: Sequence[Callable[[Guard], T]]) -> None:
        self.waiting = deque(enumerate(functions))
        self.results: dict[int, T] = {}
        self.errors: list[BaseException] = []
        self.stopped = Stop()

    def work(self) -> None:
        """Call the functions that no other thread has called, until none is left or one fails."""
        while not self.stopped.is_set():
            try:
                number, function = self.waiting.popleft()
            except IndexError:
                return
            try:
                self.results[number] = self.stopped.call(function, Guard(self.stopped))
            except BaseException as error:
                if not isinstance(error, Stopped):
                    self.errors.append(error)
                self.stopped.set()
