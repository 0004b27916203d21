"""The record of a backup run, which exists for failed runs as well.

It can be read without a key, so it contains nothing about the contents of the backup.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from igny8_backup.common.clock_skew import is_ahead
from igny8_backup.formats.manifest import COMPLETE, INCOMPLETE, LOCKED, RUNNING

SCHEMA = 1

SKIPPED, YIELDED = "skipped", "yielded"
"""Further outcomes of a run. ``SKIPPED``: another run of its host was making the same backup. ``YIELDED``:
the run ended because another session waited for a lock on a table that the run held."""
NOT_DONE = frozenset({LOCKED, SKIPPED, YIELDED})
"""The outcomes of runs that backed up nothing and did not fail."""

HEARTBEAT = timedelta(seconds=60)
"""The approximate time between two heartbeats that a run writes into its record."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord:
    """The record of a backup run.

    ``errors`` maps the name of each failed database or tree to the class of its exception.
    ``manifest_sha256`` is the digest of the manifest that the run wrote. ``pruned`` is the time when
    ``prune_backups`` removed the manifest. ``missing`` are ids of earlier backups that the host remembered
    and did not find in storage. ``fleet`` is the id of the fleet backup of which the run makes a part.
    ``snapshots`` is when the snapshots of all databases of that part existed, so that other hosts may begin
    with their files.
    """

    schema: int
    id: str
    host: str
    environment: str
    label: str
    requested: tuple[str, ...]
    started: datetime
    heartbeat: datetime
    outcome: str
    finished: datetime | None = None
    task_id: str = ""
    errors: dict[str, str] = field(default_factory=dict)
    manifest_sha256: str = ""
    pruned: datetime | None = None
    missing: tuple[str, ...] = ()
    fleet: str = ""
    snapshots: datetime | None = None

    @property
    def stored_manifest(self) -> bool:
        """Whether the run wrote a manifest, which may have been removed since."""
        return self.outcome in (COMPLETE, INCOMPLETE)

    def is_alive(self, now: datetime) -> bool:
        """Return whether the run is still active, judging by its heartbeat.

        A run whose heartbeat is in the future is not active: otherwise it could seem active for years.
        """
        dead = now - self.heartbeat >= 5 * HEARTBEAT or is_ahead(self.heartbeat, now)
        return self.outcome == RUNNING and not dead


def is_excused(run: RunRecord, runs: Sequence[RunRecord], now: datetime) -> bool:
    """Return whether ``run`` has backed up nothing for a reason that needs no attention.

    ``runs`` are all runs, newest first. Three kinds of runs back up nothing: runs that gave up waiting for
    the lock, that were skipped because an earlier run was still working, or that yielded (ended because
    another database session waited for them). Each is excused if another run of its host has backed up the
    same databases and trees meanwhile. A skipped or yielded run is also excused if the previous run of one of
    these databases and trees did not end in the same way.
    """
    if run.outcome not in NOT_DONE:
        return False
    of_host = [item for item in runs if item.host == run.host]
    if run.outcome != LOCKED:
        asked = set(run.requested)
        same = (item for item in of_host if asked.intersection(item.requested))
        before = (item for item in same if item.started < run.started and not item.is_alive(now))
        previous = next(before, None)
        if previous is None or previous.outcome != run.outcome:
            return True
    return any(
        other.outcome == COMPLETE
        and set(other.requested) >= set(run.requested)
        and (other.finished or other.started) >= run.started
        for other in of_host
    )
