"""Limit the time of a call to a service that may accept a connection and then answer slowly or never.

The timeout of a socket limits each read only, so a server that sends a byte now and then would block a run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from django.db import connections

T = TypeVar("T")


def within(seconds: float, call: Callable[[], T]) -> T:
    """Call ``call`` in a thread and return its result, or raise its exception.

    Raises ``TimeoutError`` after ``seconds``. The thread then continues until the call or the process ends.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # raised again by the caller
            errors.append(error)
        finally:
            connections.close_all()  # of this thread: a mail backend may write to a database

    thread = threading.Thread(target=run, name="igny8-backup-notify", daemon=True)
    thread.start()
    thread.join(seconds)
    for error in errors:
        raise error
    for result in results:
        return result
    raise TimeoutError(f"no complete answer within {seconds:g} seconds")
