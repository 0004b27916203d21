"""Engines over real databases, with Django's connections pointed at them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from demo.server import PostgresServer

from tests.databases.stage import Stage


@pytest.fixture
def make_stage(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """A function that makes a :class:`Stage` on a server; what it leaves there is removed."""
    stages: list[Stage] = []

    def make(server: PostgresServer, **arguments: str) -> Stage:
        stages.append(Stage(server, tmp_path / "scratch", **arguments))
        return stages[-1]

    yield make
    for stage in stages:
        stage.remove()


@pytest.fixture
def stage(pg: PostgresServer, make_stage: Callable[..., Stage]) -> Stage:
    """A database on ``pg`` with a few tables, and its engine."""
    made = make_stage(pg)
    made.create()
    return made
