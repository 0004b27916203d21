"""Wait for a lock that another run holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeVar

from igny8_backup.errors import LockedError
from igny8_backup.operations.progress import Progress

RETRY_SECONDS, LONGEST_RETRY = 1.0, 15.0
"""The first and the longest pause between two attempts to take the lock, in seconds. The pauses grow, because
an attempt can cost a listing of the storage, and the run that holds the lock can take hours."""
UNATTENDED_WAIT = 4 * 3600
"""How long, in seconds, backups and pruning wait for the lock without a terminal: in tasks and under cron."""

Lock = TypeVar("Lock")


@contextmanager
def retry_until(
    acquire: Callable[[], AbstractContextManager[Lock]], seconds: float, progress: Progress
) -> Iterator[Lock]:
    """Hold the lock that ``acquire()`` takes during the ``with`` block; yield the lock.

    While another run holds the lock, ``acquire`` is called again for at most ``seconds``. When the wait
    begins, ``progress`` shows a note. Raises ``LockedError`` when the time is over.
    """
    deadline = time.monotonic() + seconds
    noted, pause = False, RETRY_SECONDS
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
                    progress.note(f"Waiting up to {seconds:.0f} s for the other run to end. {error.what}")
                    noted = True
                time.sleep(min(pause, left))
                pause = min(1.5 * pause, LONGEST_RETRY)
        yield lock
