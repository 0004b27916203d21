"""The demo's PostgreSQL server: private, passworded, stopped and reaped."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from demo.account import private_folder, server_account
from demo.installed import installed
from demo.server import PostgresServer, stop_forgotten

from tests.services import unavailable
from tests.services.postgres import MAJORS, NEWEST

pytestmark = pytest.mark.services


@pytest.fixture
def base() -> Iterator[Path]:
    folder = private_folder("igny8-test-")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def bin_dir() -> Path:
    return installed(NEWEST) or unavailable(f"PostgreSQL {NEWEST} is not installed.")


def refused(server: PostgresServer, **wrong: Any) -> str:
    right = {"host": server.host, "port": server.port, "dbname": "postgres", "user": server.role}
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(**{**right, **wrong}).close()
    return str(caught.value)


@pytest.mark.postgres(*MAJORS)
def test_server_requires_passwords_and_its_role_is_no_superuser(pg: PostgresServer) -> None:
    assert "password" in refused(pg, passfile="/nowhere")
    assert "password authentication failed" in refused(pg, password="wrong")
    if pg.socket_dir and os.geteuid() == 0:
        assert "password authentication failed" in refused(pg, host=str(pg.socket_dir), password="wrong")
    with pg.connect() as connection:
        row = connection.execute(
            "SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        assert row == (False, True, False)
        version = connection.info.server_version
    assert version // 10_000 == pg.major
    assert pg.password not in repr(pg) and pg.superuser_password not in repr(pg)


def test_server_creates_and_drops_a_database_with_an_odd_name(postgres_18: PostgresServer) -> None:
    name = "odd name/é%?#"
    postgres_18.create_database(name)
    with psycopg.connect(postgres_18.url(name)) as connection:
        row = connection.execute("SELECT current_database(), current_user").fetchone()
    assert row == (name, postgres_18.role)
    postgres_18.drop_database(name)
    postgres_18.drop_database(name)
    assert "does not exist" in refused(postgres_18, dbname=name, password=postgres_18.password)


def test_server_stopped_leaves_no_process_and_no_password(bin_dir: Path, base: Path) -> None:
    with PostgresServer(bin_dir, base, durable=False) as server:
        pid = int((server.data / "postmaster.pid").read_text().split()[0])
        assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
        password = server.superuser_password.encode()
        assert not any(password in path.read_bytes() for path in base.iterdir() if path.is_file())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert "refused" in refused(server)
    server.stop()


def test_server_that_cannot_start_says_why_and_leaves_no_process(bin_dir: Path, base: Path) -> None:
    server = PostgresServer(bin_dir, base)
    (base / "data").mkdir()
    (base / "data" / "something").touch()
    with pytest.raises(RuntimeError, match="exists but is not empty"):
        server.start()


def test_server_with_a_long_path_has_no_socket(bin_dir: Path, base: Path) -> None:
    deep = base / ("d" * 90)
    deep.mkdir()
    server_account().own(base)
    with PostgresServer(bin_dir, deep, durable=False) as server:
        assert server.socket_dir is None
        server.connect().close()


def test_server_left_by_a_killed_process_is_stopped(bin_dir: Path, base: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from demo.server import PostgresServer\n"
        "server = PostgresServer(Path(sys.argv[1]), Path(sys.argv[2]), durable=False); server.start()\n"
        "print(server.port, flush=True); time.sleep(600)"
    )
    testproject = Path(__file__).resolve().parents[2] / "testproject"
    with subprocess.Popen(
        [sys.executable, "-c", program, bin_dir, base],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(testproject), "PATH": os.environ["PATH"]},
    ) as process:
        assert process.stdout
        assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    pid = int((base / "data" / "postmaster.pid").read_text().split()[0])
    os.kill(pid, 0)
    stop_forgotten(base)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    stop_forgotten(base)


@pytest.mark.skipif(os.geteuid() != 0, reason="Only root starts servers under another account.")
def test_programs_in_a_closed_folder_are_copied(bin_dir: Path, base: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    package = bin_dir.parent.parent
    installation = closed / package.name / bin_dir.parent.name
    shutil.copytree(bin_dir.parent, installation, symlinks=True)
    if (libraries := package.with_name(f"{package.name}.libs")).is_dir():
        shutil.copytree(libraries, closed / libraries.name)
    with PostgresServer(installation / "bin", base, durable=False) as server:
        assert server.bin_dir.is_relative_to(base)
        server.connect().close()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert stat.S_IMODE(base.stat().st_mode) == 0o700
