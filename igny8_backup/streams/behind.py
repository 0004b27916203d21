"""Call functions in threads while the caller goes on: :class:`Behind`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from igny8_backup.streams.interrupts import submit
from igny8_backup.streams.stop import Stop


class Behind:
    """Calls functions in order, at most ``threads`` at the same time. Use it as a context manager.

    The ``with`` block ends when all functions have ended. If it fails or is interrupted, a function that
    waits before it repeats a request ends, too (see :class:`Stop`).
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="behind")
        self._running: deque[Future[object]] = deque()
        self._stop = Stop()

    def call(self, function: Callable[[], object]) -> None:
        """Begin to call ``function``.

        If ``threads`` functions are at work, first waits until the one that began first has ended. Raises the
        error of that one.
        """
        if len(self._running) == self._threads:
            self._running.popleft().result()
        self._running.append(submit(self._pool, self._stop.call, function))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._stop.set()
        try:
            with self._stop.on_failure():
                while error is None and self._running:
                    self._running.popleft().result()
        finally:
            self._pool.shutdown()
