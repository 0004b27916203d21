"""The record of a fleet backup: one backup that several hosts make together, each of its own part.

Each host stores its part as a backup of its own, with a manifest that names the fleet backup and that the
host signs. Beside the record lies the record of the run of each part (a ``RunRecord``), which its host
signs. These records can be read without a key, so they contain nothing about the contents of the backups.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from igny8_backup.common.clock_skew import is_ahead
from igny8_backup.formats.documents.run_record import HEARTBEAT
from igny8_backup.formats.manifest import COMPLETE, FAILED, INCOMPLETE, RUNNING

SCHEMA = 1
WAITING = "waiting"
"""The state of a part that its host has not begun yet. The other states are those of runs."""
LEAST_WAIT = timedelta(seconds=60)
"""The shortest time within which a host must begin its part."""
ENDED = frozenset({COMPLETE, INCOMPLETE, FAILED})
"""The final states of a part."""


@dataclass(frozen=True, kw_only=True)
class FleetPart:
    """What one host backs up in a fleet backup: databases or trees, as one run.

    ``backup_id`` is the id of the backup that the host has made, and ``manifest_sha256`` the digest of its
    manifest. Both are empty if there is none. ``reason`` says why the part is not complete.
    """

    host: str
    databases: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    state: str = WAITING
    backup_id: str = ""
    manifest_sha256: str = ""
    reason: str = ""

    @property
    def kind(self) -> str:
        """``database`` or ``files``. A host that has both makes two parts."""
        return "database" if self.databases else "files"

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.databases, *self.trees)

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    def describe(self) -> str:
        what = "files" if self.trees else "databases" if len(self.databases) > 1 else "database"
        return f"{self.host}: {what} {', '.join(self.names)}"


@dataclass(frozen=True, kw_only=True)
class FleetRecord:
    """The record of a fleet backup, which the coordinator writes: the run that sends the tasks.

    ``host`` is the host of the coordinator. ``outcome`` is ``running`` until the coordinator has collected
    all parts. ``deadline`` is when the coordinator stops waiting: a host that finds its task later does
    nothing. ``task_id`` is the id of the coordinator's task, if it was one.
    """

    schema: int
    id: str
    host: str
    environment: str
    label: str
    started: datetime
    heartbeat: datetime
    deadline: datetime
    outcome: str = RUNNING
    finished: datetime | None = None
    task_id: str = ""
    parts: tuple[FleetPart, ...] = ()

    def is_alive(self, now: datetime) -> bool:
        """Return whether the coordinator is still at work, judging by its heartbeat."""
        dead = now - self.heartbeat >= 5 * HEARTBEAT or is_ahead(self.heartbeat, now)
        return self.outcome == RUNNING and not dead

    def missing(self) -> tuple[FleetPart, ...]:
        """Return the parts that are not complete."""
        return tuple(part for part in self.parts if part.state != COMPLETE)

    def has(self, *, host: str, name: str) -> bool:
        """Return whether a part is on ``host`` and contains ``name``; an empty string matches all."""
        return any(host in ("", part.host) and (not name or name in part.names) for part in self.parts)

    def part_of(self, host: str, kind: str) -> FleetPart | None:
        """Return the part of a host; ``kind`` is ``database`` or ``files``."""
        return next((part for part in self.parts if (part.host, part.kind) == (host, kind)), None)


def part_task(fleet_id: str, host: str, kind: str) -> str:
    """Return the id of the task that makes one part: the same for each delivery of the task."""
    return f"{fleet_id}/{host}/{kind}"


def outcome_of(parts: tuple[FleetPart, ...]) -> str:
    """Return the outcome of a fleet backup whose parts have ended."""
    states = {part.state for part in parts}
    if states <= {COMPLETE}:
        return COMPLETE
    return INCOMPLETE if states & {COMPLETE, INCOMPLETE} else FAILED
