"""Wait on a host for the coordinator of a fleet restore: for the next phase, or for the decision."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from igny8_backup.catalog.fleet_restores import read_restore
from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.formats.documents.fleet_restore import CANCELLED, PREPARING, FleetRestore
from igny8_backup.operations.context import BackupContext

PAUSE, LONGEST_PAUSE = 0.5, 5.0
"""The first and the longest pause between two looks at the record, in seconds."""
PATIENCE = timedelta(hours=1)
"""How long after the deadline a host that is ready still tries to read the decision."""


def wait_for_prepare(context: BackupContext, record: FleetRestore) -> bool:
    """Return whether the coordinator lets the hosts prepare; ``False`` if it has given up.

    Raises ``StorageError`` and ``IntegrityError`` if the record cannot be read any more.
    """
    found = _wait(context, record, lambda now: now.phase == PREPARING or now.decided)
    return found is not None and not found.decided


def wait_for_decision(context: BackupContext, record: FleetRestore) -> bool:
    """Return whether the hosts are to swap; ``False`` if the fleet restore was cancelled or has expired.

    Raises ``StorageError`` and ``IntegrityError`` if the decision cannot be read for ``PATIENCE``. Then it
    is not known: the other hosts may have swapped.
    """
    return _wait(context, record, lambda now: now.decided) is not None


def _wait(
    context: BackupContext, record: FleetRestore, arrived: Callable[[FleetRestore], bool]
) -> FleetRestore | None:
    """Read the record until ``arrived`` returns true; ``None`` if it was cancelled, expired or removed."""
    pause, noted = PAUSE, False
    while True:
        try:
            found = read_restore(context.store, context.config.trust, record.id)
        except (StorageError, IntegrityError) as error:
            if context.clock() >= record.decide_before + PATIENCE:
                raise
            if not noted:
                context.progress.note(
                    f"The record of the fleet restore cannot be read. Trying again. {error}"
                )
                noted = True
        else:
            if found is None or found.phase == CANCELLED:
                return None
            if arrived(found):
                return found
            if found.has_expired(context.clock()):
                return None
            record = found
        time.sleep(pause)
        pause = min(1.1 * pause, LONGEST_PAUSE)
