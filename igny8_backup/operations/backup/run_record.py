"""The record of a backup run in storage: its start, its heartbeat and its outcome, for other hosts to read.

If a run is killed, its record has no outcome and the heartbeat stops. :func:`find_redelivery` uses the
records so that a Celery task that the broker delivers twice makes only one backup.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from igny8_backup.catalog.signatures import store_document
from igny8_backup.common.clock_skew import is_ahead
from igny8_backup.common.humanize import duration_in_words
from igny8_backup.errors import BackupError, StorageError, adding_context
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.run_record import HEARTBEAT, NOT_DONE, SCHEMA, RunRecord
from igny8_backup.formats.manifest import RUNNING, STOPPED
from igny8_backup.operations.backup.heartbeat import Heartbeat
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.guards.public_storage import refuse_unencrypted_in_public
from igny8_backup.operations.history.storage_memory import LostBackup
from igny8_backup.signing.signing_key import SigningKey
from igny8_backup.signing.trust import FLEET, PART_KINDS
from igny8_backup.store import Store
from igny8_backup.store.proof import prove_stored
from igny8_backup.streams.pipeline import from_bytes


class RunRecorder:
    """Writes the record of one run: at its start, with each heartbeat, and at its end.

    A run that is a part of a fleet backup writes it a second time, where the coordinator waits for it; there,
    the final record is signed with the ``signing_key``.
    """

    def __init__(
        self,
        context: BackupContext,
        request: BackupRequest,
        backup_id: str,
        started: datetime,
        lost: Iterable[LostBackup],
        signing_key: SigningKey | None = None,
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
            missing=tuple(item.id for item in lost),
            fleet=request.fleet,
        )
        # One run backs up either the databases or the trees of its host.
        kind = PART_KINDS[0] if request.databases else PART_KINDS[1]
        self._part_key = (
            keys.fleet_part_key(request.fleet, context.config.host, kind) if request.fleet else ""
        )
        self._signing_key = signing_key
        self._mutex = threading.Lock()
        self._heartbeat = Heartbeat(context.reopen, self._renew)

    def claim_id(self) -> None:
        """Write the first record, which reserves the id of this run.

        Raises ``StorageError`` if another run has the same id, so that its objects are not overwritten. That
        can happen if the clock was set back, or if the other run is on a host that does not share the lock.
        Raises ``RefusedError`` if backups are not encrypted and everybody can read the storage.
        """
        with adding_context("No backup was recorded."):
            refuse_unencrypted_in_public(self._context.config, self._context.store)
            self._context.store.put(keys.run_key(self._record.id), from_bytes(records.to_json(self._record)))
            self._write_part(self._context.store)

    def prove_stored(self) -> None:
        """Check that the storage lists and returns the record, before anything else is written.

        Raises ``StorageError`` or ``IntegrityError`` if it does not.
        """
        prove_stored(self._context.store, keys.run_key(self._record.id), records.to_json(self._record))

    def keep_alive(self) -> None:
        """Renew the heartbeat from a thread, until ``finish`` or ``stop_heartbeat`` is called.

        Without it, a run that waits for minutes would count as killed.
        """
        self._heartbeat.start()

    def stop_heartbeat(self) -> None:
        """End the thread that renews the heartbeat."""
        self._heartbeat.stop()

    def check_existing_ids(self) -> None:
        """Check that no backup has the id of this run, and note if the newest backup is dated in the future.

        The run record has reserved the id, but the record of an earlier backup may have been deleted.
        Raises ``StorageError``.
        """
        context = self._context
        ids = set(filter(keys.is_id, context.store.list_dirs(keys.BACKUPS)))
        if self._record.id in ids:
            what = f"A backup {self._record.id} already exists in {context.store.describe()}."
            hint = "Start the backup again: each run writes under an id of its own."
            raise StorageError(what, unchanged="The existing backup was not changed.", hint=hint)
        if note := future_date_note(max(ids, default=""), self._record.started):
            context.progress.note(note)

    def renew_heartbeat(self) -> None:
        """Write the record again, with the current time, if the last heartbeat is older than ``HEARTBEAT``.

        A storage error is only noted, because the storage might still accept the objects of the backup.
        """
        self._renew(self._context.store)

    def _renew(self, store: Store) -> None:
        """Renew the heartbeat in ``store``, as :meth:`renew_heartbeat` does. Safe from any thread."""
        if self._context.clock() - self._record.heartbeat <= HEARTBEAT:
            return
        if not self._mutex.acquire(blocking=False):
            return  # another thread is writing the record
        try:
            if not self._record.finished:
                self._write(store)
        except BackupError as error:
            self._context.progress.note(
                f"The heartbeat of this run could not be written to the storage. The run goes on. {error}"
            )
        finally:
            self._mutex.release()

    def announce_snapshot(self, alias: str) -> None:
        """In a part of a fleet backup, record that the snapshot of its last database exists.

        ``alias`` is the database whose snapshot exists now. A storage error is only noted: the
        other hosts then wait until the dumps have ended.
        """
        if not self._part_key or alias != self._record.requested[-1]:
            return
        try:
            with self._mutex:
                self._record = replace(self._record, snapshots=self._context.clock())
                self._write(self._context.store)
        except BackupError as error:
            self._context.progress.note(f"The other hosts wait until the dumps have ended. {error}")

    def expect_manifest(self, manifest: bytes) -> None:
        """Add the digest of ``manifest`` to the record. Call this before the manifest is stored.

        A verification compares the digest with that of the manifest in storage.
        """
        with self._mutex:
            self._record = replace(self._record, manifest_sha256=hashlib.sha256(manifest).hexdigest())

    def finish(self, outcome: str, errors: Mapping[str, BackupError]) -> None:
        """Write the outcome of the run.

        A storage error is only noted, so that it does not hide ``errors``. If the run was stopped, requests
        that fail are repeated for a short time only.
        """
        if outcome == STOPPED:
            self._context.store.retry.hasten()
        kinds = {name: type(error).__name__ for name, error in errors.items()}
        self._heartbeat.stop()
        try:
            with self._mutex:
                now = self._context.clock()
                self._record = replace(self._record, outcome=outcome, finished=now, errors=kinds)
                self._write(self._context.store)
        except BackupError as error:
            self._context.progress.note(
                f"The outcome of this run could not be written to the storage. {error}"
            )

    def _write(self, store: Store) -> None:
        self._record = replace(self._record, heartbeat=self._context.clock())
        store.put_small(keys.run_key(self._record.id), records.to_json(self._record))
        self._write_part(store)

    def _write_part(self, store: Store) -> None:
        """Write the record again for the coordinator of the fleet backup, if the run is a part of one.

        The final record is signed.
        """
        if self._part_key:
            key = self._signing_key if self._record.finished else None
            store_document(store, key, self._part_key, FLEET, records.to_json(self._record))


def find_redelivery(context: BackupContext, task_id: str, *, locked: bool) -> RunRecord | None:
    """Return the record of an earlier run for the Celery task ``task_id`` that has ended or still goes on.

    A broker can deliver a task twice. If the earlier run was killed or stopped, or backed up nothing, the
    result is ``None``, and the caller has to make the backup. ``locked`` says that the caller holds the
    locks: a record without an outcome then belongs to a run that was killed.
    """
    folder = context.store.local_path()
    if not task_id or (folder is not None and not folder.exists()):
        return None  # the first backup creates the folder
    run = context.catalog.run_of_task(task_id)
    if run is None:
        return None
    working = not locked and run.is_alive(context.clock())
    return run if working or run.outcome not in {RUNNING, STOPPED, *NOT_DONE} else None


def future_date_note(newest: str, now: datetime) -> str:
    """Return a note if the newest backup is dated in the future, else ``""``.

    ``newest`` is the id of that backup, or empty if there is none.
    """
    if not newest or not is_ahead(keys.id_time(newest), now):
        return ""
    ahead = duration_in_words(keys.id_time(newest) - now)
    return (
        f"Backup {newest} is dated {ahead} in the future: the clock of this host is wrong, or that of the"
        " host that made the backup was. Until that date the backup is not believed: restores do not choose"
        " it, and it replaces no other backup."
    )
