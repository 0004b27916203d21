"""A backup of a standby records up to which time its data are."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from demo.account import private_folder
from demo.server import PostgresServer

from igny8_backup.databases.postgresql.dump.replay_time import replay_time
from tests.management.commands import run_many
from tests.services.postgres import open_session
from tests.services.project import Project, create, drop
from tests.services.standby import Standby

pytestmark = pytest.mark.slow
STALE = timedelta(seconds=3)


@dataclass(frozen=True)
class Replicated:
    """A project on a primary, whose backups are made from a standby."""

    project: Project
    standby: Standby

    def replay(self, what: str) -> None:
        with self.standby.connect(superuser=True) as session:
            session.execute(f"SELECT pg_wal_replay_{what}()".encode())

    def seen_by(self, *, superuser: bool = False) -> datetime | None:
        with open_session(self.standby, superuser=superuser) as session:
            return replay_time(session)

    def count(self) -> int:
        with self.standby.connect(self.project.database) as session:
            (number,) = session.execute("SELECT count(*) FROM content_tag").fetchone() or (0,)
        return int(number)


@pytest.fixture
def replicated(postgres_18: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicated]:
    project = create(postgres_18, tmp_path_factory.mktemp("replicated"))
    base = private_folder("igny8-standby-")
    try:
        with Standby(postgres_18, base) as standby:
            project.settings(
                "DBBACKUP_CONNECTORS = {'default': {"
                f"'HOST': {standby.host!r}, 'PORT': {str(standby.port)!r}" + "}}"
            )
            yield Replicated(project, standby)
    finally:
        shutil.rmtree(base)
        drop(project)


def wait_until(found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("superuser", [True, False], ids=["superuser", "application"])
def test_replay_time_of_a_standby_is_that_of_its_data(replicated: Replicated, superuser: bool) -> None:
    project = replicated.project
    with open_session(project.server) as session:
        assert replay_time(session) is None, "a primary has no replay time"
    project.sql("INSERT INTO content_tag (name) VALUES ('replayed')")
    wait_until(lambda: replicated.count() == 1)
    # The primary is idle, and everything was replayed: the data is of now.
    idle_since = datetime.now(UTC)

    def is_current() -> bool:
        found = replicated.seen_by(superuser=superuser)
        return found is not None and found >= idle_since - timedelta(seconds=60)

    wait_until(is_current)
    replicated.replay("pause")
    stopped = datetime.now(UTC)
    project.sql("INSERT INTO content_tag (name) VALUES ('not replayed')")
    wait_until(lambda: (found := replicated.seen_by(superuser=superuser)) is not None and found <= stopped)
    assert replicated.count() == 1
    replicated.replay("resume")
    wait_until(lambda: replicated.count() == 2)
    wait_until(lambda: (found := replicated.seen_by(superuser=superuser)) is not None and found > stopped)


def test_backup_of_a_standby_that_stands_still_is_as_old_as_its_data(replicated: Replicated) -> None:
    project = replicated.project
    project.sql("INSERT INTO content_tag (name) VALUES ('replayed')")
    wait_until(lambda: replicated.count() == 1)
    replicated.replay("pause")
    stopped = datetime.now(UTC)
    time.sleep(STALE.total_seconds())  # the data of the standby gets so old
    project.sql("INSERT INTO content_tag (name) VALUES ('not replayed')")
    wait_until(lambda: (found := replicated.seen_by()) is not None and found <= stopped)
    (made,) = run_many(project, ["backup_db", "--json"])
    (part,) = made.ended(0).json["manifest"]["databases"]
    data_time = datetime.fromisoformat(part["data_time"])
    assert data_time <= stopped
    assert data_time <= datetime.fromisoformat(part["started"]) - STALE
    shown, planned = run_many(
        project,
        ["show_backup", made.json["manifest"]["id"]],
        ["restore_all", "--dry-run", "--only", "db", "--identity", project.identity],
    )
    assert f"data of {data_time:%Y-%m-%d %H:%M:%S} UTC (standby)" in shown.ended(0).stdout
    assert f"data of {data_time:%Y-%m-%d %H:%M:%S} UTC, from a standby" in planned.ended(0).stdout
