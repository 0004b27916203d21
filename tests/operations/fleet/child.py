"""Do work in a forked process, beside this one."""

from __future__ import annotations

import os
import time
import traceback
import warnings
from collections.abc import Callable


class Child:
    """A process that does ``work``. It ends with status 0, or 1 if the work raised an exception."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._status: int | None = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads of other tests' servers
            self._pid = os.fork()
        if self._pid == 0:
            status = 1
            try:
                work()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)

    def poll(self) -> int | None:
        """Return how the process has ended (``-N``: killed by signal N); ``None`` while it runs."""
        if self._status is None:
            ended, status = os.waitpid(self._pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if ended else None
        return self._status

    def wait(self) -> int:
        """Wait for the end of the process, and return how it ended."""
        while (status := self.poll()) is None:
            time.sleep(0.01)
        return status

    def wait_until(self, found: Callable[[], object]) -> None:
        """Wait for a condition. Fails if the process ends before."""
        while not found():
            assert self.poll() is None
            time.sleep(0.01)
