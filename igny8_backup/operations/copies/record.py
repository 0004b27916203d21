"""The run record in the storage of a copy.

While a backup is copied there, the record keeps ``prune_backups`` from removing the new objects as orphans.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from igny8_backup.errors import BackupError
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.run_record import HEARTBEAT, SCHEMA, RunRecord
from igny8_backup.formats.manifest import COMPLETE, INCOMPLETE, RUNNING, Manifest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.guards.public_storage import refuse_unencrypted_in_public
from igny8_backup.store.proof import prove_stored


class CopyRecord:
    """Writes the record of copying one backup: at the start, with each heartbeat, and at the end.

    The record has the id of the backup: once the copy is complete, the record remains in the target storage
    as the run record of the backup there. ``sha256`` is the digest of the manifest. ``errors`` are the errors
    of the run that made the backup.
    """

    def __init__(
        self, context: BackupContext, manifest: Manifest, sha256: str, errors: dict[str, str]
    ) -> None:
        self._context = context
        self._key = keys.run_key(manifest.id)
        self._ended = COMPLETE if manifest.complete and not errors else INCOMPLETE
        self._record = RunRecord(
            schema=SCHEMA,
            id=manifest.id,
            host=manifest.host,
            environment=manifest.environment,
            label=manifest.label,
            requested=manifest.requested,
            started=manifest.started,
            heartbeat=context.clock(),
            outcome=RUNNING,
            errors=errors,
            manifest_sha256=sha256,
        )

    def begin(self) -> None:
        """Write the first record, and check that the storage lists and returns it.

        Raises ``StorageError`` or ``IntegrityError`` if that check fails; ``RefusedError`` if backups are not
        encrypted and everybody can read the storage.
        """
        refuse_unencrypted_in_public(self._context.config, self._context.store)
        self._write()
        prove_stored(self._context.store, self._key, records.to_json(self._record))

    def renew_heartbeat(self) -> None:
        """Write the record again if the last heartbeat is older than ``HEARTBEAT``."""
        if self._context.clock() - self._record.heartbeat > HEARTBEAT:
            with suppress(BackupError):  # the storage may accept the objects all the same
                self._write()

    def finish(self, outcome: str = "") -> None:
        """Write the last record, with ``outcome``; by default with the outcome of the original backup run.

        An error of the storage is noted and not raised: either the copy is complete without this record, or
        the caller raises the error that stopped it.
        """
        self._record = replace(self._record, outcome=outcome or self._ended, finished=self._context.clock())
        try:
            self._write()
        except BackupError as error:
            self._context.progress.note(f"The record of the copy could not be written. {error}")

    def _write(self) -> None:
        self._record = replace(self._record, heartbeat=self._context.clock())
        self._context.store.put_small(self._key, records.to_json(self._record))
