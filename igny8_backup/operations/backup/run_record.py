"""The record of a run in storage, which tells other hosts what the run does and how it ended.

A run that dies leaves its record without an outcome; its heartbeat then stops. :func:`find_redelivery` uses
the records to run a Celery task once that the broker delivers twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from igny8_backup.errors import BackupError
from igny8_backup.formats import keys, records
from igny8_backup.formats.manifest import HEARTBEAT, RUNNING, SCHEMA, STOPPED, RunRecord
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.context import BackupContext
from igny8_backup.streams.pipeline import from_bytes


class RunRecorder:
    """Writes the record of one run: at its start, with each heartbeat, and at its end."""

    def __init__(
        self, context: BackupContext, request: BackupRequest, backup_id: str, started: datetime
    ) -> None:
        self._context = context
        self._record = RunRecord(
            schema=SCHEMA,
            id=backup_id,
            host=context.config.host,
            environment=context.config.environment,
            label=request.label,
            requested=(*request.databases, *request.trees),
            started=started,
            heartbeat=started,
            outcome=RUNNING,
            task_id=request.task_id,
        )

    def claim_id(self) -> None:
        """Write the first record, which reserves the id of this run. Raises ``StorageError`` if it is taken.

        A clock that was set back, or a host that shares no lock with this one, can produce the same id; the
        objects of that other run must not be overwritten. Afterwards only this run writes keys of this id.
        """
        try:
            self._context.store.put(keys.run_key(self._record.id), from_bytes(records.to_json(self._record)))
        except BackupError as error:
            error.add_context("No backup was recorded.")
            raise

    def renew_heartbeat(self) -> None:
        """Write the record again if the last heartbeat is old enough. Called often."""
        if self._context.clock() - self._record.heartbeat > HEARTBEAT:
            self._write()

    def expect_manifest(self, manifest: bytes) -> None:
        """Remember the digest of the manifest that is about to be written. Verification compares it with the
        manifest in storage."""
        self._record = replace(self._record, manifest_sha256=hashlib.sha256(manifest).hexdigest())

    def finish(self, outcome: str, errors: Mapping[str, BackupError]) -> None:
        """Write how the run ended. Only notes a storage error: it must not hide the error of the run."""
        kinds = {name: type(error).__name__ for name, error in errors.items()}
        self._record = replace(self._record, outcome=outcome, finished=self._context.clock(), errors=kinds)
        try:
            self._write()
        except BackupError as error:
            self._context.progress.note(f"The record of the run could not be written: {error}")

    def _write(self) -> None:
        self._record = replace(self._record, heartbeat=self._context.clock())
        self._context.store.put_small(keys.run_key(self._record.id), records.to_json(self._record))


def find_redelivery(context: BackupContext, task_id: str, *, locked: bool) -> RunRecord | None:
    """Find the run of an earlier delivery of the same task that has ended or is still working.

    ``locked`` says that the caller holds the locks. Then a record without an outcome belongs to a run that
    died, whose work is still to be done.
    """
    folder = context.store.local_path()
    if not task_id or (folder is not None and not folder.exists()):
        return None  # the first backup creates the folder
    run = context.catalog.run_of_task(task_id)
    if run is None:
        return None
    working = not locked and run.is_alive(context.clock())
    return run if working or run.outcome not in (RUNNING, STOPPED) else None
