"""Write the record of a fleet backup: at its start, while it runs, and at its end."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from igny8_backup.catalog.fleets import fleet_ids, read_fleet
from igny8_backup.catalog.signatures import store_document
from igny8_backup.errors import BackupError, IntegrityError
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.fleet import FleetPart, FleetRecord, outcome_of
from igny8_backup.formats.documents.run_record import HEARTBEAT
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.guards.public_storage import refuse_unencrypted_in_public
from igny8_backup.signing.signing_key import SigningKey
from igny8_backup.signing.trust import FLEET
from igny8_backup.streams.pipeline import from_bytes

UPDATE_EVERY = timedelta(seconds=5)
"""The shortest time between two writes of the record while parts change."""


class FleetRecorder:
    """Writes the record of one fleet backup. ``record`` is its newest state."""

    def __init__(self, context: BackupContext, record: FleetRecord, signing_key: SigningKey | None) -> None:
        self._context = context
        self._signing_key = signing_key
        self.record = record
        self._parts = record.parts

    def begin(self) -> None:
        """Write the first record, which reserves the id. Raises ``StorageError`` if it exists already."""
        refuse_unencrypted_in_public(self._context.config, self._context.store)
        data = records.to_json(self.record)
        self._context.store.put(keys.fleet_key(self.record.id), from_bytes(data))

    def update(self, parts: tuple[FleetPart, ...]) -> None:
        """Write the record if a part has changed and the last heartbeat is older than ``UPDATE_EVERY``.

        It is also written if nothing has changed and the last heartbeat is older than ``HEARTBEAT``. The
        record of a thousand hosts is large, and each of them changes it twice.

        A storage error is only noted: the hosts may still be able to store their parts.
        """
        now = self._context.clock()
        least = HEARTBEAT if parts == self.record.parts else UPDATE_EVERY
        if now - self.record.heartbeat < least:
            self._parts = parts
            return
        self._parts = parts
        self.record = replace(self.record, parts=parts, heartbeat=now)
        try:
            self._context.store.put_small(keys.fleet_key(self.record.id), records.to_json(self.record))
        except BackupError as error:
            self._context.progress.note(f"The record of this fleet backup could not be written. {error}")

    def finish(self) -> FleetRecord:
        """Write the outcome, signed if this host has a signing key; return the final record.

        Raises ``StorageError``.
        """
        now = self._context.clock()
        self.record = replace(
            self.record, parts=self._parts, outcome=outcome_of(self._parts), finished=now, heartbeat=now
        )
        data, copy = records.to_json(self.record), self._context.config.trust.copy
        key = keys.fleet_key(self.record.id)
        store_document(self._context.store, self._signing_key, key, FLEET, data, copy)
        return self.record


def find_earlier(context: BackupContext, task_id: str, *, locked: str = "") -> FleetRecord | None:
    """Return the fleet backup that an earlier delivery of the task ``task_id`` has made, or is making.

    The result is ``None`` if there is none, or if its coordinator was killed. ``locked`` is the id of the
    fleet backup whose lock the caller holds: the coordinator of another one that is not finished was killed.
    Raises ``StorageError``.
    """
    folder = context.store.local_path()
    if not task_id or (folder is not None and not folder.exists()):
        return None  # the first backup creates the folder
    ending = f"-{keys.task_token(task_id)}"
    for fleet_id in sorted(fleet_ids(context.store), reverse=True):
        if not fleet_id.endswith(ending):
            continue
        try:
            found = read_fleet(context.store, context.config.trust, fleet_id)
        except IntegrityError:
            continue
        if found and found.record.task_id == task_id:
            record = found.record
            at_work = locked in ("", record.id) and record.is_alive(context.clock())
            return record if record.finished or at_work else None
    return None
