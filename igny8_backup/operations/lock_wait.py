"""Waiting for a lock that another run holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeVar

from igny8_backup.errors import LockedError
from igny8_backup.operations.progress import Progress

EVERY = 1.0
"""Seconds between two attempts."""

Held = TypeVar("Held")


@contextmanager
def retry_until(
    take: Callable[[], AbstractContextManager[Held]], seconds: float, progress: Progress
) -> Iterator[Held]:
    """Enters what ``take`` gives; while that raises ``LockedError``, tries again for so many seconds.

    The first failure is noted, the last one raised.
    """
    deadline = time.monotonic() + seconds
    noted = False
    with ExitStack() as stack:
        while True:
            try:
                held = stack.enter_context(take())
                break
            except LockedError as error:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise
                if not noted:
                    progress.note(f"Waiting up to {seconds:.0f} s. {error}")
                    noted = True
                time.sleep(min(EVERY, left))
        yield held
