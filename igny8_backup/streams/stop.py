"""End the waits of functions in other threads: :class:`Stop`.

A signal interrupts the main thread only. A thread that waits before it repeats a request to storage would
wait on, and the main thread with it, until the time for repetitions is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Event
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

LOOK_AGAIN = 0.25
"""While a thread waits, it looks at the outer stops after so many seconds."""


class Stop:
    """Tells functions in other threads to wait no longer and to begin nothing new.

    A ``Stop`` that is made inside :meth:`call`, in the same thread, belongs to the ``Stop`` of that call: it
    is set as soon as the outer one is. So a pause between two requests need not know which threads are at
    work above it.
    """

    def __init__(self) -> None:
        self._event = Event()
        self._outer = _outer.get()

    def set(self) -> None:
        self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set() or (self._outer is not None and self._outer.is_set())

    def wait(self, seconds: float) -> bool:
        """Wait for ``seconds``, or until this is set. Return whether it is set."""
        end = time.monotonic() + seconds
        while not self.is_set():
            left = end - time.monotonic()
            if left <= 0:
                return False
            self._event.wait(min(left, LOOK_AGAIN) if self._outer else left)
        return True

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``function`` in this thread. If this ``Stop`` is set, its pauses end."""
        token = _outer.set(self)
        try:
            return function(*args, **kwargs)
        finally:
            _outer.reset(token)

    @contextmanager
    def on_failure(self) -> Iterator[None]:
        """Set this if the ``with`` block fails or is interrupted."""
        try:
            yield
        except BaseException:
            self.set()
            raise


_outer: ContextVar[Stop | None] = ContextVar("igny8_backup_stop", default=None)
