"""Write a document of a fleet restore, and renew its heartbeat while this process is at work."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from igny8_backup.catalog.fleet_restores import write
from igny8_backup.formats.documents.fleet_restore import SWAPPED, FleetRestore, HostRestore
from igny8_backup.operations.backup.heartbeat import Heartbeat
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
        self._closed = False
        self._heartbeat = Heartbeat(context.again, self._renew)

    def __enter__(self) -> Self:
        self._heartbeat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        self._heartbeat.stop()

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

    def _renew(self, store: Store) -> None:
        with self._mutex:
            if self._stored is not None and not self._closed:
                self.document = replace(self.document, heartbeat=self._context.clock())
                self._store_in(store)


def write_swapped(
    recorder: Recorder[HostRestore], stamp: str, *, warnings: tuple[str, ...], stopped: tuple[str, ...]
) -> None:
    """Record that the host has swapped. ``stamp`` names the journal. Raises ``StorageError``."""
    recorder.write(state=SWAPPED, stamp=stamp, warnings=warnings, stopped=stopped, error="", unfinished=False)
