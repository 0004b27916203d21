"""Limit the time of a call to a service that may accept a connection and then answer slowly or never.

The timeout of a socket limits each read only, so a server that sends a byte now and then would block a run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, call: Callable[[], T], *, name: str = "igny8-backup-deadline") -> T:
    """Call ``call`` in a thread and return its result, or raise its exception.

    ``name`` is that of the thread. Raises ``TimeoutError`` after ``seconds``. The thread then continues until
    the call or the process ends.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # raised again by the caller
            errors.append(error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    thread.join(seconds)
    for error in errors:
        context = error.__context__
        try:
            raise error
        finally:  # otherwise, an error that the caller is handling has taken the place of the cause
            error.__context__ = context
    for result in results:
        return result
    raise TimeoutError(f"no complete answer within {seconds:g} seconds")
