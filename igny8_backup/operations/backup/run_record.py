"""The record of a run, kept in storage from its first moment: what another host sees of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from igny8_backup.errors import BackupError
from igny8_backup.formats import keys, records
from igny8_backup.formats.manifest import HEARTBEAT, RunRecord
from igny8_backup.operations.context import BackupContext
from igny8_backup.streams.pipeline import from_bytes


class RunKeeper:
    """Writes the record of one run: when it begins, while it lives, and how it ended."""

    def __init__(self, context: BackupContext, record: RunRecord) -> None:
        self._context = context
        self._record = record

    def claim(self) -> None:
        """Takes the id, which must be free: a clock set back, or a host that shares no lock with this one,
        can bring it up again, and nothing of that other run may be touched. From then on the keys of this id
        are ours alone."""
        try:
            self._context.store.put(keys.run_key(self._record.id), from_bytes(records.to_json(self._record)))
        except BackupError as error:
            error.add_context("No backup was recorded.")
            raise

    def beat(self) -> None:
        """Renews the heartbeat, where it is time."""
        if self._context.clock() - self._record.heartbeat > HEARTBEAT:
            self._write()

    def promise(self, manifest: bytes) -> None:
        """Remembers the manifest that is about to be written; what is stored later is held against it."""
        self._record = replace(self._record, manifest_sha256=hashlib.sha256(manifest).hexdigest())

    def end(self, outcome: str, errors: Mapping[str, BackupError]) -> None:
        """The last word of the run. A storage that is gone is passed over: it must not hide the cause."""
        kinds = {name: type(error).__name__ for name, error in errors.items()}
        self._record = replace(self._record, outcome=outcome, finished=self._context.clock(), errors=kinds)
        try:
            self._write()
        except BackupError as error:
            self._context.progress.note(f"The record of the run could not be written: {error}")

    def _write(self) -> None:
        self._record = replace(self._record, heartbeat=self._context.clock())
        self._context.store.put_small(keys.run_key(self._record.id), records.to_json(self._record))
