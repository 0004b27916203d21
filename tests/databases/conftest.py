"""Fixtures with real databases and their engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from demo.server import PostgresServer

from tests.databases.stage import Stage


@pytest.fixture
def make_stage(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Return a function that creates a :class:`Stage` on a server; each is removed afterwards."""
    stages: list[Stage] = []

    def make(server: PostgresServer, **arguments: str) -> Stage:
        stages.append(Stage(server, tmp_path / "scratch", **arguments))
        return stages[-1]

    yield make
    for stage in stages:
        stage.remove()


@pytest.fixture
def stage(pg: PostgresServer, make_stage: Callable[..., Stage]) -> Stage:
    """A stage on ``pg`` with a few tables."""
    made = make_stage(pg)
    made.create()
    return made
