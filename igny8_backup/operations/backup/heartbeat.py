"""Renew the heartbeat of a run from a thread of its own, also while the run itself waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

from igny8_backup.errors import BackupError
from igny8_backup.formats.documents.run_record import HEARTBEAT
from igny8_backup.store import Store


class Heartbeat:
    """Calls ``renew`` with an open store about once a minute, from ``start`` until ``stop``.

    A dump that waits for a lock on a table, or an upload that the storage does not take, makes no progress
    for minutes, and the run is nevertheless alive. ``open_store`` opens the store: one store must not be used
    by two threads. Without it, there is no thread.
    """

    def __init__(
        self, open_store: Callable[[], AbstractContextManager[Store]] | None, renew: Callable[[Store], None]
    ) -> None:
        self._open_store = open_store
        self._renew = renew
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._open_store is not None:
            # Daemon: a hanging storage must not keep the interpreter.
            self._thread = threading.Thread(
                target=self._beat, args=(self._open_store,), name="igny8_backup-heartbeat", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(2.0)

    def _beat(self, open_store: Callable[[], AbstractContextManager[Store]]) -> None:
        while not self._stopped.wait(HEARTBEAT.total_seconds()):
            # After a failure it is tried again in a minute.
            with suppress(BackupError), open_store() as store:
                self._renew(store)
