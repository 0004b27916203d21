"""Fixtures for fleet restores in this process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from igny8_backup.operations.fleet.restore import follow, waiting
from tests.operations.fleet.conftest import FleetInProcess
from tests.operations.fleet.restore.live import LiveFleet


@pytest.fixture
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (follow, waiting):
        monkeypatch.setattr(module, "PAUSE", 0.01)
        monkeypatch.setattr(module, "LONGEST_PAUSE", 0.01)


@pytest.fixture
def live(fleet: FleetInProcess, _no_pauses: None) -> Iterator[LiveFleet]:
    """A fleet whose hosts do their parts of fleet restores in threads."""
    made = LiveFleet(fleet)
    yield made
    made.join()
