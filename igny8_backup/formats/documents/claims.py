"""The object with which a run claims the lock in the storage, for other hosts to read (``locks.storage``)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

SCHEMA = 1
RENEWAL = timedelta(seconds=60)
"""The time between two renewals of a claim."""
LEASE = 5 * RENEWAL
"""A run that has not renewed its claim for this long counts as killed."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The claim of one run to the lock in the storage. ``doing`` describes the run, such as "a backup".

    ``owner`` is a digest that identifies the ``STATE_DIR`` and the boot of its machine. ``renewed`` is the
    time when the claim was last written, by the clock of the host. ``released``: the run has ended, but
    was not allowed to delete its claim.
    """

    schema: int
    host: str
    owner: str
    doing: str
    since: datetime
    renewed: datetime
    released: bool = False
