"""Handle signals inside a ``with`` block, or delay signals such as SIGINT until the block has ended."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import Any, ParamSpec, TypeAlias, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
Handler: TypeAlias = Callable[[int, FrameType | None], Any]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""The signals that end a command, and the one with which Celery announces the soft time limit of a task."""


@contextmanager
def handling(handler: Handler, *numbers: signal.Signals) -> Iterator[None]:
    """Call ``handler`` for the signals ``numbers`` inside the ``with`` block.

    Does nothing outside the main thread, because only the main thread may set signal handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = [(number, signal.getsignal(number)) for number in numbers]
    try:
        for number in numbers:
            signal.signal(number, handler)
        yield
    finally:
        _restore(previous)


@contextmanager
def delay_interrupts() -> Iterator[None]:
    """Delay SIGINT, SIGTERM, SIGHUP and SIGUSR1 that arrive inside the ``with`` block until it ends.

    Only signals with a Python handler are delayed. If several arrive, only the first is raised at the end.

    Python runs a signal handler between any two instructions of the main thread. If the handler raises an
    exception inside ``subprocess.Popen``, a child process is left that no object refers to. The signals are
    not masked (sigprocmask(2)), because the child would inherit the mask. In other threads nothing is
    delayed: Python runs no signal handlers there.
    """
    arrived: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        arrived.append(number)

    try:
        with handling(remember, *(number for number in _SIGNALS if callable(signal.getsignal(number)))):
            yield
    finally:
        for first in arrived[:1]:
            signal.raise_signal(first)


def submit(
    pool: ThreadPoolExecutor, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> Future[T]:
    """Call ``pool.submit``, and delay signals until it has returned.

    An exception inside it could leave a lock that nobody releases, or a thread for which the pool does not
    wait at its end.
    """
    with delay_interrupts():
        return pool.submit(function, *args, **kwargs)


def _restore(handlers: list[tuple[signal.Signals, Any]]) -> None:
    """Restore all signal handlers, even if one of them is called meanwhile and raises an exception."""
    try:
        for number, handler in handlers[:1]:
            signal.signal(number, handler)
    finally:
        if rest := handlers[1:]:
            _restore(rest)
