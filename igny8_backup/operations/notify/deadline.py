"""A limit on a call as a whole, for services that accept a connection and then answer slowly or never.

The timeout of a socket limits each read, so a server that sends a byte now and then holds a run for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from django.db import connections

T = TypeVar("T")


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return what ``call`` returns, or raise what it raises.

    Raises ``TimeoutError`` after ``seconds``. The call then continues in its thread, which ends with the
    process at the latest.
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
