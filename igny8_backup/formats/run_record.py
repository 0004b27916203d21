"""The record of a backup run, which exists for failed runs as well.

It can be read without a key, so it contains nothing about the contents of the backup.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from igny8_backup.clock_skew import is_ahead
from igny8_backup.formats.manifest import COMPLETE, INCOMPLETE, RUNNING

SCHEMA = 1

HEARTBEAT = timedelta(seconds=60)
"""The approximate time between two heartbeats that a run writes into its record."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The record of a backup run.

    ``errors`` maps the name of each failed database or tree to the class of its exception.
    ``manifest_sha256`` is the digest of the manifest that the run wrote. ``pruned`` is the time when
    ``prune_backups`` removed the manifest. ``missing`` are ids of earlier backups that the host remembered
    and did not find in storage.
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
