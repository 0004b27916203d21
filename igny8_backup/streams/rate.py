"""Limit how many bytes per second all streams of a run send together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing

from igny8_backup.streams import Blocks


class RateLimit:
    """Delays blocks, so that at most ``bytes_per_second`` pass on average (``None``: no limit).

    Several threads may use it. After a time in which nothing was sent, blocks do not pass faster. ``clock``
    returns seconds and ``sleep`` waits for seconds.
    """

    def __init__(
        self,
        bytes_per_second: int | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.bytes_per_second = bytes_per_second
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._paid_until = 0.0

    def pace(self, blocks: Blocks) -> Blocks:
        """Yield ``blocks``, each as soon as the limit allows it. Raises what ``blocks`` raises."""
        with closing(blocks):
            for block in blocks:
                self._wait(len(block))
                yield block

    def _wait(self, size: int) -> None:
        if self.bytes_per_second is None:
            return
        with self._lock:
            now = self._clock()
            self._paid_until = max(self._paid_until, now) + size / self.bytes_per_second
            seconds = self._paid_until - now
        self._sleep(seconds)


UNLIMITED = RateLimit(None)
