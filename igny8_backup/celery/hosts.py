"""Ask the workers of a fleet who they are: which hosts have a worker, with which release and which clock.

Each worker that has imported ``tasks`` answers the remote control command ``COMMAND``: see ``host_answer``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from igny8_backup import __version__
from igny8_backup.celery.control import ANSWER_SECONDS, Control, broker_problem
from igny8_backup.celery.workers import find_app
from igny8_backup.common.clock import utc_now
from igny8_backup.common.outside import is_from_outside
from igny8_backup.conf import Config

COMMAND = "igny8_backup_host"
"""The remote control command. Its answer has the keys ``host``, ``version``, ``time`` and ``queues``."""
CLOCK_TOLERANCE = timedelta(seconds=1)
"""By how much the clocks of two hosts of a fleet may differ."""


@dataclass(frozen=True, kw_only=True)
class HostWorker:
    """The answer of a worker that listens to the queue of a host of the fleet.

    ``host`` is the ``HOST`` in the settings of the worker, ``version`` the release of this package there.
    ``ahead`` is by how much its clock is ahead of the clock of this machine, as far as that is certain;
    negative if it is behind. The time that the question and the answer took to arrive is subtracted.
    """

    host: str
    version: str
    ahead: timedelta


@dataclass(frozen=True, kw_only=True)
class FleetWorkers:
    """The workers that answered, by the name of the host to whose queue they listen.

    ``unasked`` says why no worker could be asked; it is empty if they were asked. ``silent`` are the hosts
    for whose queue no worker answered: none runs, or it is busy and cannot answer.
    """

    unasked: str = ""
    workers: dict[str, HostWorker] = field(default_factory=dict)
    silent: tuple[str, ...] = ()

    def misplaced(self) -> Iterator[tuple[str, HostWorker]]:
        """Yield each host to whose queue a worker with another ``HOST`` listens, and that worker."""
        return ((name, found) for name, found in self.workers.items() if found.host != name)

    def other_versions(self) -> Iterator[tuple[str, HostWorker]]:
        """Yield each host whose worker runs another release of this package than this process."""
        return ((name, found) for name, found in self.workers.items() if found.version != __version__)

    def other_clocks(self) -> Iterator[tuple[str, HostWorker]]:
        """Yield each host whose clock differs from the clock of this machine by more than a second."""
        return ((name, found) for name, found in self.workers.items() if abs(found.ahead) > CLOCK_TOLERANCE)


def ask_hosts(config: Config, names: Collection[str] = ()) -> FleetWorkers:
    """Ask the workers of the hosts ``names`` of the fleet, by default of all of them.

    Returns within seconds, also if the broker does not answer. The result, not an exception, describes a
    failure.
    """
    queues = {host.queue: name for name, host in config.fleet.items() if not names or name in names}
    if not queues:
        return FleetWorkers()
    try:
        app, unasked = find_app()
        if app is None:
            return FleetWorkers(unasked=unasked)
        with Control(app) as control:
            if not control.reaches_all:
                return FleetWorkers(unasked="the broker has no remote control")
            asked, found = utc_now(), dict[str, HostWorker]()

            def take(answer: Any) -> bool:
                for name, worker in _read(answer, queues, asked, utc_now()):
                    found[name] = worker
                return len(found) == len(queues)

            control.collect(COMMAND, take, seconds=ANSWER_SECONDS)
    except Exception as error:  # the libraries of brokers raise exceptions of any class
        if is_from_outside(error):
            raise
        return FleetWorkers(unasked=broker_problem(error))
    order = [name for name in queues.values() if name in found]
    silent = tuple(name for name in queues.values() if name not in found)
    return FleetWorkers(workers={name: found[name] for name in order}, silent=silent)


def _read(
    answer: Any, queues: dict[str, str], asked: datetime, arrived: datetime
) -> Iterator[tuple[str, HostWorker]]:
    """Yield each host to whose queue the worker listens that gave this ``answer``.

    ``queues`` maps queues to hosts. ``asked`` and ``arrived`` are times of the clock of this machine: the
    clock of the worker was read in between. Answers of other releases that say something else are left out.
    """
    try:
        time = datetime.fromisoformat(answer["time"]).astimezone(UTC)
        host, version, consumed = str(answer["host"]), str(answer["version"]), list(answer["queues"])
    except (KeyError, TypeError, ValueError):
        return
    ahead = time - arrived if time > arrived else min(time - asked, timedelta())
    worker = HostWorker(host=host, version=version, ahead=ahead)
    yield from ((queues[queue], worker) for queue in consumed if queue in queues)
