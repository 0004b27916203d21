"""A backup of a database under constant writes shows one instant, in which the sums balance."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from demo.server import PostgresServer

from tests.management.commands import run_many
from tests.services.project import Project, drop

# Each transaction of pgbench adds one amount to an account, its teller and its branch, and logs it.
SUMS = """
    SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers),
           (SELECT sum(bbalance) FROM pgbench_branches), (SELECT sum(delta) FROM pgbench_history),
           (SELECT count(*) FROM pgbench_history), (SELECT count(*) FROM pgbench_accounts)"""
ACCOUNTS = 100_000
SECONDS = 60


@pytest.fixture
def bank(pg: PostgresServer, tmp_path: Path) -> Iterator[Project]:
    project = Project(pg, tmp_path)
    pg.create_database(project.database)
    subprocess.run(
        [*pgbench(project), "--initialize", "--quiet", "--foreign-keys"], check=True, env=facts(pg)
    )
    yield project
    drop(project)


def pgbench(project: Project) -> list[str | Path]:
    return [project.server.bin_dir / "pgbench", project.database]


def facts(server: PostgresServer) -> dict[str, str]:
    return {
        "PATH": os.defpath,
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "PGUSER": server.role,
        "PGPASSWORD": server.password,
    }


@contextmanager
def writers(project: Project) -> Iterator[None]:
    """Run three writing sessions before and during the context."""
    argv = [*pgbench(project), "--no-vacuum", "--client=3", "--time=600"]
    with subprocess.Popen(
        argv, env=facts(project.server), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_for_more(project, 0)
            yield
            assert process.poll() is None, "the writers stopped early"
        finally:
            process.terminate()


def wait_for_more(project: Project, than: int) -> None:
    deadline = time.monotonic() + SECONDS
    while sums(project)[4] <= than + 50:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def sums(project: Project) -> tuple[int, ...]:
    (found,) = project.sql(SUMS)
    return tuple(int(value or 0) for value in found)


@pytest.mark.postgres(15, 16, 18)
def test_backup_busy_database_is_one_instant(bank: Project) -> None:
    with writers(bank):
        before = sums(bank)[4]
        (made,) = run_many(bank, ["backup_db"])
        made.ended(0)
        after = sums(bank)[4]
        wait_for_more(bank, after)
    left = sums(bank)
    restore = ["restore_all", "--only", "db", "--noinput", "--database-name", bank.database]
    (restored,) = run_many(bank, [*restore, "--identity", bank.identity])
    restored.ended(0)
    accounts, tellers, branches, noted, transactions, rows = sums(bank)
    assert accounts == tellers == branches == noted
    assert before <= transactions <= after < left[4], "there were writes before, during and after the backup"
    assert rows == ACCOUNTS
