"""The request for a fleet restore, the plan that is shown before anything is changed, and the result."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from igny8_backup.common.humanize import one_line
from igny8_backup.errors import RefusedError, UsageError
from igny8_backup.formats.documents.fleet import LEAST_WAIT
from igny8_backup.formats.documents.fleet_restore import RESTORE, SWAPPED, FleetRestore, HostRestore, Replaced
from igny8_backup.operations.fleet.request import END_WITHIN, START_WITHIN
from igny8_backup.operations.restore.workers import WorkersPolicy


@dataclass(frozen=True, kw_only=True)
class FleetRestoreRequest:
    """What to restore or undo on all hosts together.

    ``id`` is that of the fleet backup to restore, or of the fleet restore to undo; if it is empty, the newest
    one is taken. ``allow_vulnerable``: programs with known security holes may be used. To the hosts
    ``by_hand`` no task is sent. A host that has not answered after ``start_within``, or not prepared its part
    after ``end_within``, ends the restore before anything live is changed.
    """

    action: str = RESTORE
    id: str = ""
    by_hand: tuple[str, ...] = ()
    workers: WorkersPolicy = WorkersPolicy()
    migrate: bool = True
    allow_vulnerable: bool = False
    start_within: timedelta = START_WITHIN
    end_within: timedelta = END_WITHIN

    def check(self) -> None:
        """Raise ``UsageError`` if the hosts would have too little time."""
        if self.start_within < LEAST_WAIT or self.end_within < 5 * LEAST_WAIT:
            raise UsageError(
                "The hosts need at least a minute to answer, and five minutes to prepare.",
                hint="Give larger numbers of seconds.",
            )


@dataclass(frozen=True, kw_only=True)
class FleetRestorePlan:
    """The plan of a fleet restore: what each host has answered, with notes and blockers about all hosts."""

    record: FleetRestore
    hosts: tuple[HostRestore, ...]
    notes: tuple[str, ...] = ()
    blockers: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[Replaced, ...]:
        """The databases and trees of all hosts."""
        return tuple(part for host in self.hosts for part in host.parts)

    def require_feasible(self) -> None:
        """Raise ``RefusedError`` if a host has refused its part or has not answered."""
        if self.blockers:
            listed = "\n".join(f"  - {one_line(text)}" for text in self.blockers)
            raise RefusedError(
                f"Not every host can do its part:\n{listed}\n",
                unchanged="Nothing was changed on any host.",
                hint="Fix the problems listed above, then run the command again. A host without a worker or"
                " without the identity can take part with --by-hand HOST.",
            )


@dataclass(frozen=True, kw_only=True)
class FleetRestoreResult:
    """The result of a fleet restore or its undo. ``resumed``: this run has only completed an earlier one.

    ``stopped_first`` are the names of the Celery workers that the coordinator has stopped for all hosts.
    """

    record: FleetRestore
    hosts: tuple[HostRestore, ...]
    problems: tuple[str, ...] = ()
    resumed: bool = False
    stopped_first: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        return all(host.state == SWAPPED for host in self.hosts)

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(f"{host.host}: {text}" for host in self.hosts for text in host.warnings)

    @property
    def stopped(self) -> tuple[str, ...]:
        """The names of the Celery workers that the coordinator and the hosts have stopped."""
        on_hosts = [name for host in self.hosts for name in host.stopped]
        return tuple(dict.fromkeys((*self.stopped_first, *on_hosts)))
