"""Fixtures for all tests: real servers, and the test project as an operator would run it."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import hypothesis
import pytest
from demo.server import PostgresServer
from django.conf import settings

from tests.services import moto, unavailable
from tests.services.localstack import LocalStack
from tests.services.localstack import install as install_localstack
from tests.services.moto import MotoServer
from tests.services.postgres import NEWEST, PostgresServers
from tests.services.project import COVERAGE_STARTUP, MEASURING, Project, create, drop
from tests.services.redis import RedisServer
from tests.services.redis import installed as installed_redis
from tests.services.s3 import RcloneS3
from tests.services.s3 import installed as installed_rclone

SERVICES = {"postgres_servers", "redis_server", "s3_server", "moto_server", "localstack"}
"""Fixtures that start a server: a test that uses one of them, directly or not, is marked ``services``."""

WORKERS_PER_CORE, MORE_WORKERS = 2, 4
"""Most tests wait for servers and processes most of the time, so a core serves two workers."""

SOME_EXAMPLES = 40
"""Number of examples of a property that names no number itself; with ``--exhaustive`` it is 100."""

MEASURE, MEASURED_SHARE = "COVERAGE_PROCESS_CONFIG", 8
"""The variable that lets a process measure its coverage; it is set for one test of so many."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Use no workers for the tests of one file, whose start would take longer than they do."""
    paths = [argument for argument in config.args if not argument.startswith("-")]
    if len(paths) == 1 and Path(paths[0].partition("::")[0]).is_file():
        return 0
    cores = len(os.sched_getaffinity(0))
    return min(WORKERS_PER_CORE * cores, cores + MORE_WORKERS)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--exhaustive",
        action="store_true",
        help="run each test on all versions of PostgreSQL that it names, at all moments, with more examples",
    )


def pytest_configure(config: pytest.Config) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, and children inherit that
    if sys.flags.dev_mode:  # the workers of pytest-xdist do not inherit -X dev
        os.environ["PYTHONDEVMODE"] = "1"
    # Without a deadline: other tests keep the machine busy.
    examples = 100 if config.getoption("--exhaustive") else SOME_EXAMPLES
    hypothesis.settings.register_profile("tests", max_examples=examples, deadline=None)
    hypothesis.settings.load_profile("tests")
    if MEASURE in os.environ:
        MEASURING[MEASURE] = os.environ[MEASURE]
        sys.path.append(COVERAGE_STARTUP)
    # A shell without job control starts background processes with SIGINT ignored, and every program that the
    # tests start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # libpq would read these variables and connect the tests to a server that is not theirs.
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]
    if "sqlite3" not in settings.DATABASES["default"]["ENGINE"]:
        raise pytest.UsageError("Unset DATABASE_URL and DB_NAME: the tests start servers of their own.")
    settings.CELERY_BROKER_URL = "memory://"  # without a broker, every restore over live data is refused


def pytest_collection_finish() -> None:
    """Exempt what has been imported so far from the collections of garbage, which take half the time then."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need servers, and run their files first: they take longest."""
    for item in items:
        if SERVICES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.services)
    files_with_services = {item.path for item in items if item.get_closest_marker("services")}
    items.sort(key=lambda item: item.path not in files_with_services)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "pg" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("postgres")
        majors = marker.args if marker and marker.args else (NEWEST,)
        if not metafunc.config.getoption("--exhaustive"):
            # All versions get a share of the tests, and a test always the same version.
            majors = (majors[crc32(metafunc.function.__name__.encode()) % len(majors)],)
        metafunc.parametrize(
            "pg", majors, indirect=True, scope="session", ids=[f"pg{major}" for major in majors]
        )


@pytest.fixture(autouse=True)
def measured_processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure the coverage of the processes that every eighth test starts.

    A process that is measured takes a third more time, and most tests start the same commands. The variable
    reaches the commands, the path also the workers, which know nothing else of the environment.
    """
    if crc32(request.node.name.encode()) % MEASURED_SHARE:
        monkeypatch.delenv(MEASURE, raising=False)
        monkeypatch.setattr(sys, "path", [path for path in sys.path if path != COVERAGE_STARTUP])


@pytest.fixture(autouse=True, scope="module")
def leaks_are_reported_by_their_module() -> Iterator[None]:
    """Collect garbage after each module: what it never closed warns then, not in a test of another module."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def postgres_servers() -> Iterator[PostgresServers]:
    """The PostgreSQL servers by major version; each starts when it is first requested."""
    servers = PostgresServers()
    yield servers
    servers.close()


@pytest.fixture(scope="session")
def pg(request: pytest.FixtureRequest, postgres_servers: PostgresServers) -> PostgresServer:
    """A PostgreSQL server: of the newest version, or of each version in the marker ``postgres``."""
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
    """A Redis server; ``url`` is for the broker setting of Celery."""
    program = installed_redis()
    if program is None:
        unavailable("redis-server is not installed.")
    with RedisServer(program, tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RcloneS3]:
    """A real S3 server."""
    program = installed_rclone()
    if program is None:
        unavailable("rclone is not installed.")
    with RcloneS3(program, tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    """An S3 server whose buckets can keep versions and lock objects."""
    if not moto.installed():
        unavailable("moto is not installed.")
    with MotoServer(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="session")
def localstack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """An S3 server that locks objects as Amazon does."""
    program = install_localstack()
    if program is None:
        unavailable("There is no Python 3.13, which LocalStack needs.")
    with LocalStack(tmp_path_factory.mktemp("localstack"), program) as server:
        yield server


@pytest.fixture
def exhaustive(request: pytest.FixtureRequest) -> bool:
    """Whether tests that try many moments or cases try all of them, not a sample."""
    return bool(request.config.getoption("--exhaustive"))


@pytest.fixture
def project(pg: PostgresServer, tmp_path: Path) -> Iterator[Project]:
    """The test project with a migrated, empty database and its own folders."""
    made = create(pg, tmp_path)
    yield made
    drop(made)
