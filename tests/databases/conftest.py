"""Fixtures with real databases and their engines."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from demo.account import private_folder
from demo.server import PostgresServer

from tests.databases.stage import Stage
from tests.services.postgres import PostgresServers


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


class CrampedServer(PostgresServer):
    """A server with 20 sessions, whose lock table holds about 200 locks."""

    def _options(self) -> list[str]:
        return [*super()._options(), "-c", "max_connections=20", "-c", "max_locks_per_transaction=10"]


@pytest.fixture(params=[15, 18])
def cramped(request: pytest.FixtureRequest, postgres_servers: PostgresServers) -> Iterator[PostgresServer]:
    base = private_folder("igny8-cramped-")
    try:
        with CrampedServer(postgres_servers.get(request.param).bin_dir, base, durable=False) as server:
            yield server
    finally:
        shutil.rmtree(base)
