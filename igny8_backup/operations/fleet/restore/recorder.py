"""Write a document of a fleet restore, and renew its heartbeat while this process is at work."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from igny8_backup.catalog.fleet_restores import write
from igny8_backup.errors import BackupError
from igny8_backup.formats.documents.fleet_restore import FleetRestore, HostRestore
from igny8_backup.formats.documents.run_record import HEARTBEAT
from igny8_backup.operations.context import BackupContext
from igny8_backup.signing.signing_key import SigningKey
from igny8_backup.store import Store

D = TypeVar("D", FleetRestore, HostRestore)


class Recorder(Generic[D]):
    """Writes one document. Used as a context manager, it renews the heartbeat until the block ends.

    ``document`` is the newest state. A document that is new is stored by the first call of ``write``.
    """

    def __init__(self, context: BackupContext, signing_key: SigningKey | None, document: D) -> None:
        self._context = context
        self._signing_key = signing_key
        self.document: D = document
        self._stored: D | None = None
        self._mutex = threading.Lock()
        self._closed = threading.Event()
        # Daemon: a hanging storage must not keep the interpreter.
        self._thread = threading.Thread(
            target=self._renew_until_closed, name="igny8_backup-heartbeat", daemon=True
        )

    def __enter__(self) -> Self:
        if self._context.again is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(2.0)

    def write(self, **changes: Any) -> D:
        """Change these fields of the document and store it. Raises ``StorageError``."""
        with self._mutex:
            self.document = replace(self.document, heartbeat=self._context.clock(), **changes)
            self._store_in(self._context.store)
            return self.document

    def _store_in(self, store: Store) -> None:
        trust = self._context.config.trust
        write(store, trust, self._signing_key, self.document, replaces=self._stored)
        self._stored = self.document

    def _renew_until_closed(self) -> None:
        opened = self._context.again
        while opened is not None and not self._closed.wait(HEARTBEAT.total_seconds()):
            # After a failure it is tried again in a minute.
            with suppress(BackupError), opened() as store, self._mutex:
                if self._stored is not None and not self._closed.is_set():
                    self.document = replace(self.document, heartbeat=self._context.clock())
                    self._store_in(store)
