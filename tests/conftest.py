"""Fixtures for all tests: real servers of the session, and the test project as an operator would run it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo.server import PostgresServer
from django.conf import settings

from tests.services import unavailable
from tests.services.postgres import NEWEST, PostgresServers
from tests.services.project import Project, create, drop
from tests.services.redis import RedisServer
from tests.services.redis import installed as installed_redis

POSTGRES_MARKER = "postgres(*majors): run pg and project with these majors; without it, with the newest"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", POSTGRES_MARKER)
    # A shell without job control starts what runs in the background with SIGINT ignored, which every program
    # that the tests start would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # What libpq reads by itself would send the tests to a server that is not theirs.
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]
    if "sqlite3" not in settings.DATABASES["default"]["ENGINE"]:
        raise pytest.UsageError("Unset DATABASE_URL and DB_NAME: the tests start servers of their own.")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "pg" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("postgres")
        majors = marker.args if marker and marker.args else (NEWEST,)
        metafunc.parametrize(
            "pg", majors, indirect=True, scope="session", ids=[f"pg{major}" for major in majors]
        )


@pytest.fixture(scope="session")
def postgres_servers() -> Iterator[PostgresServers]:
    """The session's PostgreSQL servers by major; each starts when first asked for."""
    servers = PostgresServers()
    yield servers
    servers.close()


@pytest.fixture(scope="session")
def pg(request: pytest.FixtureRequest, postgres_servers: PostgresServers) -> PostgresServer:
    """A PostgreSQL server: the newest, or each of those that the marker ``postgres`` names."""
    return postgres_servers.get(request.param)


@pytest.fixture(scope="session")
def postgres_15(postgres_servers: PostgresServers) -> PostgresServer:
    """The PostgreSQL 15 server."""
    return postgres_servers.get(15)


@pytest.fixture(scope="session")
def postgres_16(postgres_servers: PostgresServers) -> PostgresServer:
    """The PostgreSQL 16 server."""
    return postgres_servers.get(16)


@pytest.fixture(scope="session")
def postgres_18(postgres_servers: PostgresServers) -> PostgresServer:
    """The PostgreSQL 18 server."""
    return postgres_servers.get(18)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis server for the session; ``url`` is what a Celery broker setting takes."""
    program = installed_redis()
    if program is None:
        unavailable("redis-server is not installed.")
    with RedisServer(program, tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def project(pg: PostgresServer, tmp_path: Path) -> Iterator[Project]:
    """The test project with a migrated, empty database and folders of its own."""
    made = create(pg, tmp_path)
    yield made
    drop(made)
