"""Read the storage in the background of a web process if the status is old: never within a request.

Whoever makes backups writes the status, and normally it is at most an hour old. If nobody has written it for
hours, or the web process may not read it, the process reads the storage itself, in a thread, and shows the
result from its memory. It writes nothing to the storage and does not change the shared status. At most one
thread of a process reads at a time.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from datetime import datetime, timedelta

from django.core.signals import setting_changed
from django.db import connections

from igny8_backup.errors import BackupError, StorageError
from igny8_backup.formats.documents.status import Status
from igny8_backup.operations.context import open_context
from igny8_backup.operations.guards.green_threads import refuse_eventlet
from igny8_backup.operations.monitor.run import read_and_judge
from igny8_backup.operations.status.build import build_status
from igny8_backup.operations.status.keep import Kept

logger = logging.getLogger(__name__)
OLD = timedelta(hours=2)
"""Age from which the status is read again: ``monitor_backups`` should have written it twice since."""
RETRY_SECONDS = 600.0
"""After a failure, the storage is not read again for this time."""
_REMEMBERED = {"lost", "remembered"}
"""Conditions that the host of the backups judges by what it remembers in ``STATE_DIR``."""


class BackgroundRefresh:
    """What this web process has read from the storage, and the thread that reads it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._forgotten()

    def _forgotten(self) -> None:
        self._status: Status | None = None
        self.problem = ""
        self._tried = float("-inf")

    def newest(self, kept: Kept, now: datetime) -> Kept:
        """Return ``kept``, or what this process has read later; if both are old, begin to read. Never waits.

        ``kept`` is the status that was found in the cache or in ``STATE_DIR``.
        """
        own = self._status
        if own and own.read and not (kept.status and kept.status.read and kept.status.read >= own.read):
            kept = _as_own(own, kept.status)
        if kept.status is None or kept.status.read is None or now - kept.status.read > OLD:
            self._begin()
        return kept

    @property
    def reads(self) -> bool:
        """Whether the thread reads the storage now."""
        return self._thread is not None and self._thread.is_alive()

    def join(self) -> None:
        """Wait for the thread, if one reads, and forget what it has read."""
        with self._lock:
            thread = self._thread
        if thread:
            thread.join()
        self._forgotten()

    def _begin(self) -> None:
        with self._lock:
            if self.reads or time.monotonic() - self._tried < RETRY_SECONDS:
                return
            self._tried = time.monotonic()
            self._thread = threading.Thread(target=self._read, name="igny8_backup-status", daemon=True)
            self._thread.start()

    def _read(self) -> None:
        try:
            self._status, self.problem = _read_status(), ""
        except BackupError as error:
            self.problem = str(error)
        except Exception as error:  # settings of the project, or packages that the web processes lack
            logger.exception("Unexpected failure while the status was read")
            self.problem = f"{type(error).__name__}, see the log of the web process"
        finally:
            connections.close_all()  # of this thread


def _read_status() -> Status:
    refuse_eventlet("This web process", hint="Run monitor_backups every hour.")
    with open_context(brief=True) as context:
        inventory, health = read_and_judge(context)
        if inventory is None:
            raise StorageError(health.conditions[0].text)
        return build_status(context, inventory, health)


def _as_own(own: Status, written: Status | None) -> Kept:
    """Return the status ``own``, which this process has read from the storage.

    If there is ``written``, the document of the host of the backups, what only that host knows comes from it.
    """
    if written:
        failed = [item for item in written.conditions if item.name in _REMEMBERED and not item.ok]
        named = {(item.name, item.of) for item in failed}
        rest = (item for item in own.conditions if (item.name, item.of) not in named)
        own = replace(
            own,
            host=written.host,
            restores=written.restores,
            conditions=(*rest, *failed),
            problem=written.problem,
        )
    return Kept(status=own, source="the storage, which this web process has read itself")


refresh = BackgroundRefresh()
"""The background refresh of this process."""


def _settings_changed(**kwargs: object) -> None:
    refresh.join()


setting_changed.connect(_settings_changed)
