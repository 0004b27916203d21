"""Record in the storage that this host has restored its part of a fleet backup."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from igny8_backup.catalog.fleet_restores import restored_hosts, write
from igny8_backup.catalog.fleets import read_fleet
from igny8_backup.errors import BackupError, IntegrityError
from igny8_backup.formats.documents.fleet_restore import SCHEMA, HostRestored
from igny8_backup.journal import DONE, Journal
from igny8_backup.operations.context import BackupContext


def record_restored(context: BackupContext, journal: Journal) -> None:
    """Store the record for the operators of the other hosts, if ``journal`` is that of a fleet backup.

    An error is only noted, because everything is restored.
    """
    if not journal.fleet_backup or journal.phase != DONE:
        return
    trust = replace(context.config.trust, copy="")
    try:
        document = HostRestored(
            schema=SCHEMA,
            id=journal.fleet_backup,
            host=context.config.host,
            restored=context.clock(),
            parts_of=_restored_hosts(context, journal),
        )
        write(context.own_store, trust, context.load_signing_key(), document)
    except BackupError as error:
        context.progress.note(f"The record that this host has restored its part could not be stored. {error}")


def _restored_hosts(context: BackupContext, journal: Journal) -> tuple[str, ...]:
    """Return the hosts whose parts this host has restored, now or before. Raises ``StorageError``."""
    store, trust, fleet_id = context.own_store, context.config.trust, journal.fleet_backup
    before = restored_hosts(store, replace(trust, copy=""), fleet_id)
    found = {name for name, record in before.items() if record.host == context.config.host}
    with suppress(IntegrityError):  # without the record, only the part of this host counts
        if fleet := read_fleet(store, trust, fleet_id):
            found |= {part.host for part in fleet.record.parts if part.backup_id in journal.backup_ids}
    return tuple(sorted(found))
