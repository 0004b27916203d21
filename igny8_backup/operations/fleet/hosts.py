"""Check the hosts of a fleet: what none of them backs up, their workers, releases and clocks."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import timedelta

from igny8_backup import __version__
from igny8_backup.celery.hosts import FleetWorkers, HostWorker, ask_hosts
from igny8_backup.common.humanize import listed
from igny8_backup.conf import SETTING, Config, Problem
from igny8_backup.operations.guards.preconditions import make_problem
from igny8_backup.operations.progress import Progress

_SHOWN = 5
"""At most this many hosts are named in a message."""


def find_problems(config: Config) -> list[Problem]:
    """Return W080 for what no host backs up, and W081 to W084 for workers of hosts that cannot take part.

    Asks the workers over the broker. Returns an empty list if ``HOSTS`` declares no fleet.
    """
    if not config.fleet:
        return []
    return [*_unclaimed(config), *_of_workers(config, ask_hosts(config))]


def note_problems(config: Config, progress: Progress, names: Collection[str] = ()) -> None:
    """Ask the workers of the hosts ``names``, by default of all, and note what keeps them from taking part.

    Nothing is prevented: a worker may start in time, or be too busy to answer.
    """
    for problem in _of_workers(config, ask_hosts(config, names)):
        progress.note(problem.message)


def _unclaimed(config: Config) -> Iterator[Problem]:
    if config.unclaimed:
        yield make_problem(
            "W080",
            f"No host in HOSTS backs up {listed([repr(name) for name in config.unclaimed], _SHOWN)}, so"
            " backup_fleet leaves this out.",
            f"Add it to 'databases' or 'sites' of the host in {SETTING}['HOSTS'] that has it. If another run"
            " backs it up, or nothing should, silence this check.",
        )


def _of_workers(config: Config, found: FleetWorkers) -> Iterator[Problem]:
    if found.unasked:
        yield make_problem(
            "W081",
            f"The workers of the fleet could not be asked whether they run: {found.unasked}.",
            "Start the broker, and check the settings of Celery.",
        )
        return
    if found.silent:
        hosts = [f"{name} (queue {config.fleet[name].queue!r})" for name in found.silent]
        yield make_problem(
            "W081",
            f"No worker answers for {listed(hosts, _SHOWN)}. backup_fleet gives up a host that does not begin"
            " in time.",
            "Start a worker for the queue on that host. A worker with --pool=solo cannot answer while it"
            " works; one with an earlier release of igny8-backup never answers.",
        )
    if others := [f"{name} (a worker of {worker.host})" for name, worker in found.misplaced()]:
        yield make_problem(
            "W082",
            f"Workers of other hosts listen to the queue of {listed(others, _SHOWN)}. They refuse the parts"
            " of that host.",
            f"Let each worker listen to the queue of its own host, and set {SETTING}['HOST'] on each.",
        )
    if clocks := [f"{name} ({_difference(worker)})" for name, worker in found.other_clocks()]:
        yield make_problem(
            "W083",
            f"The clock of {listed(clocks, _SHOWN)} differs from the clock of this machine, {config.host}.",
            "Synchronize the clocks of all hosts: see timedatectl on each.",
        )
    if versions := [f"{name} ({worker.version})" for name, worker in found.other_versions()]:
        yield make_problem(
            "W084",
            f"The worker of {listed(versions, _SHOWN)} runs another release of igny8-backup than this process"
            f" ({__version__}).",
            "Install the same release on all hosts, and restart their workers.",
        )


def _difference(worker: HostWorker) -> str:
    seconds = abs(worker.ahead) // timedelta(seconds=1)
    return f"{seconds} s {'ahead' if worker.ahead > timedelta() else 'behind'}"
