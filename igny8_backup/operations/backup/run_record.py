"""The record of a backup run in storage: its start, its heartbeat and its outcome, for other hosts to read.

If a run is killed, its record has no outcome and the heartbeat stops. :func:`find_redelivery` uses the
records so that a Celery task that the broker delivers twice makes only one backup.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from igny8_backup.errors import BackupError, adding_context
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

        Another run can have the same id if the clock was set back, or on a host that does not share the lock.
        Its objects must not be overwritten.
        """
        with adding_context("No backup was recorded."):
            self._context.store.put(keys.run_key(self._record.id), from_bytes(records.to_json(self._record)))

    def renew_heartbeat(self) -> None:
        """Write the record again if the last heartbeat is older than ``HEARTBEAT``."""
        if self._context.clock() - self._record.heartbeat > HEARTBEAT:
            self._write()

    def expect_manifest(self, manifest: bytes) -> None:
        """Add the digest of ``manifest`` to the record, before the manifest is written.

        A verification compares the digest with the manifest in storage.
        """
        self._record = replace(self._record, manifest_sha256=hashlib.sha256(manifest).hexdigest())

    def finish(self, outcome: str, errors: Mapping[str, BackupError]) -> None:
        """Write the outcome of the run.

        A storage error is only noted, so that it does not hide ``errors``.
        """
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
    """Return the run of an earlier delivery of the Celery task ``task_id``, if it has ended or is active.

    ``locked``: the caller holds the locks. A record without an outcome then belongs to a run that was killed,
    and None is returned, because the backup has to be made again.
    """
    folder = context.store.local_path()
    if not task_id or (folder is not None and not folder.exists()):
        return None  # the first backup creates the folder
    run = context.catalog.run_of_task(task_id)
    if run is None:
        return None
    working = not locked and run.is_alive(context.clock())
    return run if working or run.outcome not in (RUNNING, STOPPED) else None
