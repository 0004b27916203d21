"""Record in the storage that this host has restored its part of a fleet backup."""

from __future__ import annotations

from dataclasses import replace

from igny8_backup.catalog.fleet_restores import write
from igny8_backup.errors import BackupError
from igny8_backup.formats.documents.fleet_restore import SCHEMA, HostRestored
from igny8_backup.journal import DONE, Journal
from igny8_backup.operations.context import BackupContext


def record_restored(context: BackupContext, journal: Journal) -> None:
    """Store the record for the operators of the other hosts, if ``journal`` is that of a fleet backup.

    An error is only noted, because everything is restored.
    """
    if not journal.fleet_backup or journal.phase != DONE:
        return
    document = HostRestored(
        schema=SCHEMA, id=journal.fleet_backup, host=context.config.host, restored=context.clock()
    )
    trust = replace(context.config.trust, copy="")
    try:
        write(context.own_store, trust, context.load_signing_key(), document)
    except BackupError as error:
        context.progress.note(f"The record that this host has restored its part could not be stored. {error}")
