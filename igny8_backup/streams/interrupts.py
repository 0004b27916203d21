"""Signals that must not fall into the middle of something."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeAlias

Handler: TypeAlias = Callable[[int, FrameType | None], Any]

_STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def held_back() -> Iterator[None]:
    """SIGINT and SIGTERM that come inside are handled when it ends, not before.

    Python handles a signal between any two instructions of the main thread, and an exception from there
    inside ``subprocess.Popen`` leaves a child that nobody knows. Masking them (sigprocmask(2)) is no way:
    the child would inherit the mask. In other threads there is nothing to do.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        came.append(number)

    before = {number: handler for number in _STOPPING if callable(handler := signal.getsignal(number))}
    try:
        for number in before:
            signal.signal(number, remember)
        yield
    finally:
        _restore(list(before.items()))
        for first in came[:1]:
            signal.raise_signal(first)


def _restore(handlers: list[tuple[signal.Signals, Handler]]) -> None:
    """All of them, also when a signal comes after the first and its handler raises."""
    try:
        for number, handler in handlers[:1]:
            signal.signal(number, handler)
    finally:
        if rest := handlers[1:]:
            _restore(rest)
