"""Report work in the activity document while it runs: its step, how much is done, and how it ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

from django.db import connections

from igny8_backup.common.outside import is_from_outside
from igny8_backup.formats.documents.status import SCHEMA, Activity, Work
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.progress import Progress
from igny8_backup.operations.status.keep import keep_activity, read_activity

EVERY = 5.0
"""How many seconds pass between two reports."""
SILENT = timedelta(minutes=2)
"""After this time without a report, work that has not ended is taken for killed."""
FORGOTTEN = timedelta(days=1)
"""After this time, work is no longer listed: it has ended, or its process was killed."""


@dataclass
class Meter:
    """A :class:`Progress` that forwards all calls to ``progress``, and remembers the step that runs."""

    progress: Progress
    step: str = ""
    done: int = 0
    total: int | None = None
    files: int = 0
    unit: str = "files"
    begun: float = 0.0

    def begin(self, what: str, total: int | None, count: int | None = None, unit: str = "files") -> None:
        self.step, self.done, self.total, self.files, self.unit = what, 0, total, 0, unit
        self.begun = time.monotonic()
        self.progress.begin(what, total, count, unit)

    def advance(self, amount: int, count: int = 0) -> None:
        self.done += amount
        self.files += count if self.unit == "files" else 0
        self.progress.advance(amount, count)

    def end(self) -> None:
        self.step = ""
        self.progress.end()

    def note(self, text: str) -> None:
        self.progress.note(text)

    def reading(self, work: Work) -> Work:
        """Return ``work`` with the present state of the step."""
        if not self.step:
            return replace(work, step="", done=0, total=None, files=0, rate=0)
        rate = self.done / max(time.monotonic() - self.begun, 0.001)
        total = None if self.total is None else max(self.total, self.done)
        return replace(
            work, step=self.step, done=self.done, total=total, files=self.files, rate=max(0, int(rate))
        )


@contextmanager
def followed(context: BackupContext, what: str, *, every: float = EVERY) -> Iterator[BackupContext]:
    """Report the work in the block every ``every`` seconds, and how it ended; yield the context to use in it.

    ``what`` describes the work: ``a backup``. A document that cannot be written is no error.
    """
    meter, begun = Meter(context.progress), time.monotonic()
    since = context.clock()
    work = Work(host=context.config.host, what=what, since=since, reported=since)
    ended = threading.Event()

    def present() -> Work:
        return meter.reading(replace(work, reported=since + timedelta(seconds=time.monotonic() - begun)))

    def report() -> None:
        try:
            while not ended.wait(every):
                _keep(context, present())
        finally:
            connections.close_all()  # the cache can be a table of a database

    thread = threading.Thread(target=report, name="igny8_backup-activity", daemon=True)
    _keep(context, work)
    thread.start()
    error = ""
    try:
        yield replace(context, progress=meter)
    except BaseException as raised:
        error = type(raised).__name__ if isinstance(raised, Exception) else "StoppedError"
        raise
    finally:
        ended.set()
        thread.join()
        last = present()
        _keep(context, replace(work, reported=last.reported, ended=last.reported, error=error))


def _keep(context: BackupContext, work: Work) -> None:
    """Replace the entry about ``work`` in the document, and remove old entries.

    Of several works of a kind on a host, those that run stay; of those that have ended, or were killed, only
    the newest does.
    """
    try:
        others = tuple(
            other
            for other in read_activity(context.config).works
            if work.reported - other.reported < FORGOTTEN and not _is_replaced(other, work)
        )
        keep_activity(context.config, Activity(schema=SCHEMA, works=(work, *others)))
    except Exception as error:  # a fault in what is only shown must not fail the work
        if is_from_outside(error) and not isinstance(error, MemoryError):
            raise


def _is_replaced(other: Work, work: Work) -> bool:
    if (other.host, other.what) != (work.host, work.what):
        return False
    return other.since == work.since or bool(other.ended) or work.reported - other.reported > SILENT
