"""The documents of a fleet restore: a restore, or its undo, on several hosts together.

The coordinator writes a :class:`FleetRestore`, and each host a :class:`HostRestore`. They can be read without
a key, so they contain nothing about the contents of databases and files.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from igny8_backup.common.clock_skew import is_ahead
from igny8_backup.formats.documents.run_record import HEARTBEAT

SCHEMA = 1

RESTORE, UNDO = "restore", "undo"
"""The actions of a fleet restore."""
PLANNING, PREPARING, SWAPPING, DONE, CANCELLED = "planning", "preparing", "swapping", "done", "cancelled"
"""The phases of a fleet restore."""
DECIDED = frozenset({SWAPPING, DONE})
"""The phases in which every host that is ready makes its restored data live."""
WAITING, REFUSED, PLANNED, BUILDING, READY = "waiting", "refused", "planned", "preparing", "ready"
SWAPPED, FAILED, WITHDRAWN = "swapped", "failed", "withdrawn"
"""Further states of a host. ``WAITING``: it has not answered yet."""
FINAL = frozenset({REFUSED, SWAPPED, FAILED, WITHDRAWN})
"""The states of a host that will do nothing more by itself."""
GRACE = timedelta(seconds=60)
"""The coordinator decides at least this long before the deadline, and a host without a decision withdraws
this long after it, so that clocks may differ by so much."""


@dataclass(frozen=True, kw_only=True)
class FleetRestore:
    """The record of a fleet restore, which the coordinator writes. ``host`` is the host of the coordinator.

    ``fleet`` is the id of the fleet backup that is restored. ``undoes`` is the id of the fleet restore that
    is undone; empty if ``action`` is ``restore``. The phase ``swapping`` is the decision: from then on the
    restore is completed on every host. ``decide_before``: a host that finds no decision a minute after this
    time removes what it has prepared. ``hosts`` take part; ``by_hand`` are those of them to which no task is
    sent, because an operator starts their part. ``workers`` says what happens to Celery workers, and
    ``stop_seconds`` how long running tasks may take. ``migrate``: run the migrations of the code.
    ``allow_vulnerable``: programs with known security holes may be used.
    ``finished``: the coordinator has stopped waiting; in the phase ``swapping``, not every host has swapped.
    """

    schema: int
    id: str
    action: str
    fleet: str
    host: str
    environment: str
    started: datetime
    heartbeat: datetime
    decide_before: datetime
    phase: str = PLANNING
    undoes: str = ""
    hosts: tuple[str, ...] = ()
    by_hand: tuple[str, ...] = ()
    workers: str = "refuse"
    stop_seconds: int = 300
    migrate: bool = True
    allow_vulnerable: bool = False
    finished: datetime | None = None

    @property
    def decided(self) -> bool:
        """Whether the hosts that are ready make their restored data live."""
        return self.phase in DECIDED

    @property
    def ended(self) -> bool:
        return self.phase in (DONE, CANCELLED)

    def is_alive(self, now: datetime) -> bool:
        """Return whether the coordinator is still at work, judging by its heartbeat."""
        return self.finished is None and not _is_dead(self.heartbeat, now)

    def has_expired(self, now: datetime) -> bool:
        """Return whether a host without a decision may remove what it has prepared."""
        return not self.decided and now >= self.decide_before + GRACE


@dataclass(frozen=True, kw_only=True)
class Replaced:
    """A database or tree that a host will replace. ``kind`` is ``database`` or ``files``.

    ``name`` is the alias of the database or the name of the tree. ``place`` is the name of the live database;
    empty for a tree. ``bytes`` is the size of the data that becomes live. ``empty``: there is no live data
    that would be replaced. ``vanishes``: afterwards there will be no such database, or no files.
    """

    kind: str
    name: str
    place: str = ""
    backup_id: str = ""
    bytes: int = 0
    empty: bool = False
    vanishes: bool = False


@dataclass(frozen=True, kw_only=True)
class HostRestore:
    """How far the part of one host of a fleet restore has come; written by the host.

    ``parts`` is its plan, with ``notes`` for the operator and ``blockers``, the reasons why it was refused.
    ``stamp`` names the journal of the restore on the host. ``error`` says why the part has failed, and
    ``unfinished`` that the swap has begun: then ``restore_all`` on the host completes it. ``warnings`` are
    problems after the swap. ``stopped`` are the names of the Celery workers that the host has stopped.
    """

    schema: int
    id: str
    host: str
    state: str
    heartbeat: datetime
    parts: tuple[Replaced, ...] = ()
    notes: tuple[str, ...] = ()
    blockers: tuple[str, ...] = ()
    stamp: str = ""
    error: str = ""
    unfinished: bool = False
    warnings: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()

    @property
    def ended(self) -> bool:
        return self.state in FINAL

    def is_alive(self, now: datetime) -> bool:
        """Return whether the host is still at work, judging by its heartbeat."""
        return not self.ended and not _is_dead(self.heartbeat, now)


@dataclass(frozen=True, kw_only=True)
class HostRestored:
    """The record that ``host`` has restored its part of the fleet backup ``id`` at the time ``restored``.

    ``parts_of`` are the hosts whose parts it has restored, if not only its own: a host that was renamed, for
    example, restores the part that has its old name.
    """

    schema: int
    id: str
    host: str
    restored: datetime
    parts_of: tuple[str, ...] = ()


def _is_dead(heartbeat: datetime, now: datetime) -> bool:
    return now - heartbeat >= 5 * HEARTBEAT or is_ahead(heartbeat, now)


def restore_task(restore_id: str, host: str) -> str:
    """Return the id of the task that makes the part of ``host``: the same for each delivery of the task."""
    return f"{restore_id}/{host}/restore"
