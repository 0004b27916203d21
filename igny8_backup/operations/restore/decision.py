"""Find out what becomes of a restore that is ready and waits for the other hosts of a fleet restore."""

from __future__ import annotations

from dataclasses import replace

from igny8_backup.catalog.fleet_restores import read_restore
from igny8_backup.errors import IntegrityError, RefusedError, StorageError
from igny8_backup.formats.documents.fleet_restore import CANCELLED
from igny8_backup.journal import Journal
from igny8_backup.operations.context import BackupContext


def is_decided(context: BackupContext, journal: Journal) -> bool:
    """Return whether a restore in the phase ``ready`` is to be completed: its fleet restore was decided.

    ``False`` means that its staging databases and folders are to be removed. Raises ``RefusedError`` while
    there is no decision, or if the decision cannot be read: the other hosts may have completed the restore.
    """
    trust = replace(context.config.trust, copy="")  # the document is in the project's own storage
    try:
        found = read_restore(context.own_store, trust, journal.fleet)
    except (IntegrityError, StorageError) as error:
        raise RefusedError(
            f"It cannot be found out whether the fleet restore {journal.fleet} was decided. {error.what}",
            unchanged="Nothing was changed.",
            hint="Make the storage work again, then run the command again: the other hosts of the fleet may"
            " have completed this restore.",
        ) from error
    if found is None or found.phase == CANCELLED or found.has_expired(context.clock()):
        return False
    if found.decided:
        return True
    raise RefusedError(
        f"A restore on this host is ready, and waits until all hosts of the fleet restore {journal.fleet} are"
        " ready.",
        unchanged="Nothing was changed.",
        hint=f"Wait for the command on the host {found.host} that coordinates it. If that was stopped, run"
        f" restore_all --fleet there. Without a decision, this host gives up after"
        f" {found.decide_before:%Y-%m-%d %H:%M:%S} UTC.",
    )
