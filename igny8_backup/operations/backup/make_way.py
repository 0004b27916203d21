"""End a run that other sessions wait for (``YIELD_AFTER``), and make the backup later.

``YieldWatch`` ends the dump of one database. ``repeat_after_yield`` tries the run once more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Self, TypeVar

from igny8_backup.common.humanize import duration_in_words
from igny8_backup.common.outside import is_from_outside
from igny8_backup.databases.capabilities import Capability
from igny8_backup.databases.engine import Engine
from igny8_backup.errors import DatabaseError, YieldedError
from igny8_backup.formats.documents.run_record import YIELDED
from igny8_backup.formats.manifest import STOPPED
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.progress import RunObserver

T = TypeVar("T")

AGAIN_AFTER = 300.0
"""After so many seconds, a run that has yielded is tried once more."""
LOOK_AGAIN = 10.0
"""If waiting sessions cannot be looked for, the next attempt is made after this many seconds."""


class YieldWatch:
    """A context manager around the dump of a database, which ends the dump if other sessions wait for it.

    A thread looks for sessions that wait for a lock of the dump. When one has waited for the time in
    ``request`` or the settings, the thread ends the sessions of the dump on the server. Ending the sessions
    causes an error in the ``with`` block; this context manager replaces it by ``YieldedError``. If the time
    is 0, nothing is watched.
    """

    def __init__(
        self, context: BackupContext, engine: Engine, observer: RunObserver, request: BackupRequest
    ) -> None:
        self._context = context
        self._engine = engine
        self._observer = observer
        chosen = request.yield_after
        seconds = context.config.yield_after if chosen is None else chosen
        self._seconds = seconds if engine.supports(Capability.YIELD) else 0.0
        self._error: YieldedError | None = None
        self._closed = threading.Event()
        # Daemon: a server that never answers must not keep the interpreter from exiting.
        self._thread = threading.Thread(target=self._watch, name="igny8_backup-yield", daemon=True)

    def __enter__(self) -> Self:
        if self._seconds:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        if self._error and error is not None and not is_from_outside(error):
            raise self._error from None

    def _watch(self) -> None:
        noted = False
        while not self._closed.is_set():
            try:
                if text := self._engine.waiting_sessions(self._seconds, self._closed):
                    self._error = YieldedError(
                        f"The backup of {self._engine.alias!r} was ended to let other sessions pass. {text}"
                    )
                    self._observer.end_with(self._error)
                    self._engine.end_dump()
                return
            except DatabaseError as error:
                if not (noted or self._closed.is_set()):
                    self._context.progress.note(
                        f"{self._engine.alias}: it cannot be checked whether sessions wait for this backup."
                        f" The run goes on. {error}"
                    )
                noted = True
                self._closed.wait(LOOK_AGAIN)


def outcome_of_early_end(error: BaseException) -> str:
    """Return the outcome to record for a run that ``error`` ends as a whole.

    The outcome is that the run has yielded (ended because another session waited for it), or that it was
    stopped from outside, for example by the time limit of a Celery task. It is empty if ``error`` is the
    failure of one database or tree.
    """
    if isinstance(error, YieldedError):
        return YIELDED
    return STOPPED if is_from_outside(error) else ""


def repeat_after_yield(context: BackupContext, run: Callable[[], T]) -> T:
    """Call ``run``; if it yields, call it once more after ``AGAIN_AFTER`` seconds.

    The second call is made only if ``context`` permits to wait for that time. Raises the errors of ``run``,
    such as the ``YieldedError`` of the last call.
    """
    try:
        return run()
    except YieldedError as error:
        if context.wait < AGAIN_AFTER:
            raise
        pause = duration_in_words(timedelta(seconds=AGAIN_AFTER))
        context.progress.note(f"{error.what} The backup is tried again in {pause}.")
    time.sleep(AGAIN_AFTER)
    return run()
