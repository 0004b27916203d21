"""Delay SIGINT, SIGTERM and SIGHUP while an object is built that an exception would leave half finished."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeAlias

Handler: TypeAlias = Callable[[int, FrameType | None], Any]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def delay_interrupts() -> Iterator[None]:
    """Handle SIGINT, SIGTERM and SIGHUP that arrive inside the block when the block ends.

    Python runs a signal handler between any two instructions of the main thread. An exception raised there
    inside ``subprocess.Popen`` leaves a child process that no object refers to. Masking the signals
    (sigprocmask(2)) is not an option: the child would inherit the mask. Other threads receive no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        arrived.append(number)

    handlers = {number: handler for number in _SIGNALS if callable(handler := signal.getsignal(number))}
    try:
        for number in handlers:
            signal.signal(number, remember)
        yield
    finally:
        _restore(list(handlers.items()))
        for first in arrived[:1]:
            signal.raise_signal(first)


def _restore(handlers: list[tuple[signal.Signals, Handler]]) -> None:
    """Set all signal handlers again, even if one of them is called meanwhile and raises."""
    try:
        for number, handler in handlers[:1]:
            signal.signal(number, handler)
    finally:
        if rest := handlers[1:]:
            _restore(rest)
