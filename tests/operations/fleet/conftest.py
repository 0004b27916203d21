"""A fleet of hosts in this process: each task is done when it is sent, by the code of its host."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.conf.build import read
from igny8_backup.errors import BackupError
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.fleet import coordinate
from igny8_backup.operations.fleet.coordinate import run_fleet
from igny8_backup.operations.fleet.part import PartRequest, run_part
from igny8_backup.operations.fleet.request import FleetRequest, FleetResult

NAMES = ("web-1", "web-2", "web-3")


class Clock:
    """A clock that a test sets forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        self.step = timedelta()

    def __call__(self) -> datetime:
        self.ahead += self.step
        return datetime.now(UTC) + self.ahead


class FleetInProcess:
    """The hosts ``NAMES``, each with a tree of its own, and a coordinator on a further host.

    ``down`` are hosts whose workers take no tasks. ``unreachable`` is how often the broker does not answer.
    ``sent`` are the hosts of the tasks that were sent. ``own`` are the settings of single hosts.
    """

    def __init__(self, base: BackupContext, folder: Path, settings: dict[str, Any]) -> None:
        self.base = base
        self.folder = folder
        self.clock = Clock()
        self.settings = settings
        self.down: set[str] = set()
        self.unreachable = 0
        self.sent: list[str] = []
        self.own: dict[str, dict[str, Any]] = {}

    def context(self, host: str) -> BackupContext:
        """Return the context of a process on ``host``."""
        own = {"HOST": host, "STATE_DIR": self.folder / f"state-{host}", **self.own.get(host, {})}
        config, problems = read({**self.settings, **own})
        assert config is not None, problems
        config.state_dir.mkdir(exist_ok=True)
        return replace(self.base, config=config, clock=self.clock)

    def run(self, request: FleetRequest = FleetRequest(), host: str = "admin") -> FleetResult:  # noqa: B008
        """Run the coordinator on ``host``."""
        return run_fleet(self.context(host), request, self.send)

    def send(
        self, name: str, arguments: Mapping[str, Any], *, queue: str, task_id: str, expires: float
    ) -> None:
        assert name == "backup_fleet_part" and expires > 0
        host = queue.removeprefix("backup-")
        if self.unreachable:
            self.unreachable -= 1
            raise BackupError("The broker cannot be reached (OperationalError).")
        self.sent.append(host)
        if host not in self.down:
            self.work(host, arguments)

    def work(self, host: str, arguments: Mapping[str, Any]) -> None:
        """Do the task as the worker of ``host`` does, which survives errors."""
        with suppress(BackupError):
            run_part(self.context(host), part_request(arguments))


def part_request(arguments: Mapping[str, Any]) -> PartRequest:
    return PartRequest(
        fleet=arguments["fleet"],
        host=arguments["host"],
        databases=tuple(arguments["databases"]),
        trees=tuple(arguments["trees"]),
        full=arguments["full"],
        label=arguments["label"],
    )


@pytest.fixture
def fleet(context: BackupContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FleetInProcess:
    monkeypatch.setattr(coordinate, "PAUSE", 0.01)
    monkeypatch.setattr(coordinate, "LONGEST_PAUSE", 0.01)
    for name in NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.html").write_text(f"the start page of {name}\n")
    settings: dict[str, Any] = {
        "DATABASES": [],
        "SITES": {name: tmp_path / name for name in NAMES},
        "SCRATCH_DIR": tmp_path,
        "ENCRYPTION": None,
        "HOSTS": {name: {"queue": f"backup-{name}", "sites": [name]} for name in NAMES},
    }
    return FleetInProcess(context, tmp_path, settings)
