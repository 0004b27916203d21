"""The request for a fleet backup, and its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from igny8_backup.conf import SETTING, Config
from igny8_backup.errors import UsageError
from igny8_backup.formats.documents.fleet import LEAST_WAIT, FleetPart, FleetRecord
from igny8_backup.formats.manifest import COMPLETE
from igny8_backup.operations.notify.alarms import Alarm

START_WITHIN = timedelta(minutes=15)
"""The default of how long the coordinator waits for a host to begin its part."""
END_WITHIN = timedelta(hours=12)
"""The default of how long the coordinator waits for all parts to end."""


class Sender(Protocol):
    """Sends a task to the queue of a host."""

    def __call__(
        self, name: str, arguments: Mapping[str, Any], *, queue: str, task_id: str, expires: float
    ) -> object:
        """Send the task ``igny8_backup.NAME``; it is discarded after ``expires`` seconds.

        Raises ``BackupError`` if the broker cannot be reached.
        """


@dataclass(frozen=True, kw_only=True)
class FleetRequest:
    """What to back up: all that ``HOSTS`` declares, or the parts of some ``hosts`` only.

    ``logs`` adds the trees of ``LOGS``; ``full`` stores all files again. A host that has not begun its part
    after ``start_within``, or not ended it after ``end_within``, is a failed part. ``task_id`` is the id of
    the coordinator's task, if it is one.
    """

    hosts: tuple[str, ...] = ()
    logs: bool = False
    full: bool = False
    label: str = ""
    start_within: timedelta = START_WITHIN
    end_within: timedelta = END_WITHIN
    task_id: str = ""

    def parts(self, config: Config) -> tuple[FleetPart, ...]:
        """Return the parts of the fleet backup, those with databases first.

        Raises ``UsageError`` if ``HOSTS`` declares no fleet, or lacks one of the requested hosts.
        """
        unchanged = "Nothing was read or written."
        if self.start_within < LEAST_WAIT or self.end_within < self.start_within:
            what = "The hosts need at least a minute to begin, and at least as long to end."
            raise UsageError(what, unchanged=unchanged, hint="Give larger numbers of seconds.")
        if not config.fleet:
            raise UsageError(
                f"{SETTING}['HOSTS'] declares no host with a queue.",
                unchanged=unchanged,
                hint=f"Write {SETTING}['HOSTS'] = "
                '{"web-1": {"queue": "backup-web-1", "sites": ["uploads"]}, ...}: see "Back up a fleet".',
            )
        if unknown := [host for host in self.hosts if host not in config.fleet]:
            hint = f"Choose among: {', '.join(config.fleet)}."
            what = f"{SETTING}['HOSTS'] declares no host {unknown[0]!r} with a queue."
            raise UsageError(what, unchanged=unchanged, hint=hint)
        chosen = {name: host for name, host in config.fleet.items() if not self.hosts or name in self.hosts}
        databases = [
            FleetPart(host=name, databases=host.databases) for name, host in chosen.items() if host.databases
        ]
        trees = [
            FleetPart(host=name, trees=(*host.sites, *(host.logs if self.logs else ())))
            for name, host in chosen.items()
        ]
        return (*databases, *(part for part in trees if part.trees))


@dataclass(frozen=True, kw_only=True)
class FleetResult:
    """The result of a fleet backup: its record.

    ``repeated``: an earlier delivery of the same task has made, or is making, this fleet backup.
    """

    record: FleetRecord
    repeated: bool = False

    @property
    def complete(self) -> bool:
        return self.record.outcome == COMPLETE

    def problems(self) -> list[str]:
        """Return a line for each part that is not complete."""
        return [f"{part.describe()} FAILED: {part.reason}" for part in self.record.missing()]

    @property
    def alarms(self) -> list[Alarm]:
        return [
            Alarm(f"{part.host}/{name}", part.state) for part in self.record.missing() for name in part.names
        ]
