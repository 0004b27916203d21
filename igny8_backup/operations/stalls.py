"""Standstills: told to people, and ended by nobody but them. A dump takes as long as it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from datetime import timedelta
from types import TracebackType
from typing import Self

from igny8_backup.errors import BackupError
from igny8_backup.humanize import duration_in_words
from igny8_backup.operations.progress import Progress
from igny8_backup.streams import Block


class StallMonitor:
    """Tells ``progress`` when nothing of ``what`` has moved for ``seconds``, again after twice as long and so
    on, and when it moves again. A thread looks at the clock while the context lasts.

    ``reason`` is asked, in that thread, what stands in the way: a sentence, or nothing.
    """

    def __init__(
        self, what: str, progress: Progress, *, seconds: float, reason: Callable[[], str] = str
    ) -> None:
        self._what = what
        self._progress = progress
        self._seconds = seconds
        self._reason = reason
        self._waiting_for = ""
        self._moved = time.monotonic()
        self._due = seconds  # of standstill, when the next word is said
        self._lock = threading.Lock()
        self._ended = threading.Event()
        # Daemon: a server that never answers the question must not keep the interpreter from exiting.
        self._thread = threading.Thread(target=self._look, name="igny8_backup-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def wait_for(self, whom: str) -> None:
        """Something has moved, and ``whom`` is to move next; with ``""`` nobody is, and all is well."""
        with self._lock:
            if self._due > self._seconds:
                self._progress.note(f"{self._what}: moving again after {self._standstill()}.")
            self._waiting_for, self._moved, self._due = whom, time.monotonic(), self._seconds

    def through(
        self, blocks: Generator[Block, None, None], *, source: str, sink: str
    ) -> Generator[Block, None, None]:
        """The same blocks, from ``source`` to ``sink``; afterwards waits again for whom it did before."""
        after = self._waiting_for
        with closing(blocks):
            self.wait_for(source)
            for block in blocks:
                self.wait_for(sink)
                yield block
                self.wait_for(source)
            self.wait_for(after)

    def _look(self) -> None:
        while not self._ended.wait(max(self._due - self._stood(), 0.05)):
            moved = self._moved
            if self._waiting_for and self._stood() >= self._due:
                reason = self._ask()
                with self._lock:
                    if moved == self._moved and not self._ended.is_set():
                        self._tell(reason)

    def _ask(self) -> str:
        try:
            return self._reason()
        except BackupError as error:
            return str(error)

    def _tell(self, reason: str) -> None:
        self._due = 2 * self._stood()
        said = f"{self._what}: nothing has moved for {self._standstill()}, waiting for {self._waiting_for}."
        self._progress.note(" ".join(part for part in (said, reason, "The run goes on.") if part))

    def _stood(self) -> float:
        return time.monotonic() - self._moved

    def _standstill(self) -> str:
        return duration_in_words(timedelta(seconds=self._stood()), units=2)
