"""Download the ranges of a large S3 object side by side.

A single connection to a distant storage uses only a fraction of the bandwidth of the network. So up to
``AHEAD`` ranges are requested at the same time, while the range before them is read: at most ``AHEAD`` + 1
are in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from igny8_backup.errors import StorageError
from igny8_backup.streams import BLOCK, Blocks
from igny8_backup.streams.interrupts import submit
from igny8_backup.streams.stop import Stop

MIB = 1 << 20
RANGE = 8 * MIB
"""The size of a range in bytes."""
AHEAD = 2
"""The number of ranges that are requested at the same time."""
LARGE = 4 * RANGE
"""An object of which at least so many bytes are left to read is read in ranges."""

OpenRange = Callable[[int, int], Any]
ReadBlock = Callable[[Any, int], bytes]


class NoRangesError(StorageError):
    """The server does not return the range that was requested."""


class Ranges:
    """Reads an object from ``start`` to ``end`` in ranges. Use it as a context manager.

    ``open_range`` requests the bytes from its first argument to its second, which is not included, and
    returns the body; it raises ``NoRangesError`` if the server returns other bytes. ``read(body, count)``
    reads bytes from a body. ``repeat`` calls a function until it succeeds or ``stop`` is set. ``shut_down``
    ends all reads of a body, as far as possible.
    """

    def __init__(
        self,
        open_range: OpenRange,
        read: ReadBlock,
        *,
        repeat: Callable[[Callable[[], list[bytes]], Stop], list[bytes]],
        shut_down: Callable[[Any], object],
        start: int,
        end: int,
    ) -> None:
        self._open_range = open_range
        self._read = read
        self._repeat = repeat
        self._shut_down = shut_down
        self._wanted = iter(range(start, end, RANGE))
        self._end = end
        self._stop = Stop()
        self._bodies: set[Any] = set()
        self._pool = ThreadPoolExecutor(AHEAD, thread_name_prefix="s3-range")
        self._running: deque[Future[list[bytes]]] = deque()

    def __enter__(self) -> Ranges:
        for _ in range(AHEAD):
            self._request_next()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        for body in tuple(self._bodies):
            self._shut_down(body)
        self._pool.shutdown(cancel_futures=True)

    def require(self) -> None:
        """Wait for the first range. Raises ``NoRangesError`` and the errors of its request."""
        self._running[0].result()

    def blocks(self) -> Blocks:
        """Yield the bytes of all ranges in order."""
        while self._running:
            found = self._running.popleft().result()
            self._request_next()
            found.reverse()
            while found:  # each block is freed once it was taken
                yield found.pop()

    def _request_next(self) -> None:
        start = next(self._wanted, None)
        if start is not None:
            end = min(start + RANGE, self._end)
            self._running.append(
                submit(self._pool, self._repeat, lambda: self._fetch(start, end), self._stop)
            )

    def _fetch(self, start: int, end: int) -> list[bytes]:
        found: list[bytes] = []
        with self._opened(start, end) as body:
            while start < end and not self._stop.is_set():
                found.append(self._read(body, min(BLOCK, end - start)))
                start += len(found[-1])
        return found

    @contextmanager
    def _opened(self, start: int, end: int) -> Iterator[Any]:
        body = self._open_range(start, end)
        self._bodies.add(body)
        try:
            yield body
        finally:
            self._bodies.discard(body)
            with suppress(OSError):
                body.close()
