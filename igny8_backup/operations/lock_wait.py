"""Wait for a lock that another run holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeVar

from igny8_backup.errors import LockedError
from igny8_backup.operations.progress import Progress

RETRY_SECONDS = 1.0
"""Seconds between two attempts to take the lock."""

Lock = TypeVar("Lock")


@contextmanager
def retry_until(
    acquire: Callable[[], AbstractContextManager[Lock]], seconds: float, progress: Progress
) -> Iterator[Lock]:
    """Take the lock that ``acquire()`` returns; retry for ``seconds`` while another run holds it.

    When the wait begins, ``progress`` shows a note. Raises ``LockedError`` when the time is over.
    """
    deadline = time.monotonic() + seconds
    noted = False
    with ExitStack() as stack:
        while True:
            try:
                lock = stack.enter_context(acquire())
                break
            except LockedError as error:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise
                if not noted:
                    progress.note(f"Waiting up to {seconds:.0f} s. {error}")
                    noted = True
                time.sleep(min(RETRY_SECONDS, left))
        yield lock
