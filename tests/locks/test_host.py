"""Locks between processes and between hosts, which end with their holder."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from demo.server import PostgresServer
from django.core.files.storage import FileSystemStorage

from igny8_backup.errors import FilesError, LockedError
from igny8_backup.locks.host import AdvisoryLock, file_lock
from igny8_backup.store import Store, open_store
from tests.services.postgres import open_session

NOW = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)
REPOSITORY = Path(__file__).resolve().parents[2]

FILE_HOLDER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
import django
from django.conf import settings
settings.configure()
from django.core.files.storage import FileSystemStorage
from igny8_backup.locks.host import file_lock
from igny8_backup.store import open_store
store = open_store(FileSystemStorage(location=sys.argv[1]), "igny8/")
with file_lock(store, Path(sys.argv[2]), doing="a backup", now=datetime(2026, 11, 22, 2, 15, tzinfo=UTC)):
    print("held", flush=True)
    sys.stdin.read()
"""
ADVISORY_HOLDER = """
import os
import sys
from django.conf import settings
settings.configure()
from django.core.files.storage import FileSystemStorage
from igny8_backup.databases.postgresql.connections.driver import connect
from igny8_backup.locks.host import AdvisoryLock
from igny8_backup.store import open_store
store = open_store(FileSystemStorage(location=sys.argv[1]), "igny8/")
session = connect(dict(pair.split("=") for pair in os.environ["PROBE"].split()))
AdvisoryLock(session, store, doing="a backup of web-1")
print("held", flush=True)
sys.stdin.read()
session.close()
"""


def make_store(tmp_path: Path, prefix: str = "igny8/") -> Store:
    return open_store(FileSystemStorage(location=tmp_path / "storage"), prefix)


@contextmanager
def holder(source: str, *argv: Path, probe: str = "") -> Iterator[subprocess.Popen[str]]:
    """Run a process that holds the lock until its input ends or it is killed."""
    with subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", source, *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(REPOSITORY), "PROBE": probe},
    ) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.stdin.close()


@contextmanager
def locked(store: Store, state: Path) -> Iterator[None]:
    with file_lock(store, state, doing="a restore", now=NOW):
        yield


def test_file_lock_held_names_the_holder(tmp_path: Path) -> None:
    store, state = make_store(tmp_path), tmp_path / "state"
    with holder(FILE_HOLDER, tmp_path / "storage", state) as process:
        with pytest.raises(LockedError) as caught, locked(store, state):
            pytest.fail("two hold the lock")
        text = str(caught.value)
        assert f"process {process.pid}, a backup, since 2026-11-22T02:15:00+00:00" in text
        assert "Nothing was changed. Run the command again when" in text
        assert caught.value.exit_status == 5
        with locked(make_store(tmp_path, "another/"), state):
            pass
    with locked(store, state):
        pass


def test_file_lock_of_killed_holder_is_free(tmp_path: Path) -> None:
    store, state = make_store(tmp_path), tmp_path / "state"
    with holder(FILE_HOLDER, tmp_path / "storage", state) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with locked(store, state):
            pass


def test_file_lock_twice_in_one_process_raises(tmp_path: Path) -> None:
    store, state = make_store(tmp_path), tmp_path / "state"
    caught = pytest.raises(LockedError, match=f"process {os.getpid()}, a restore")
    with locked(store, state), caught, locked(store, state):
        pytest.fail("two hold the lock")
    with pytest.raises(ZeroDivisionError), locked(store, state):
        raise ZeroDivisionError
    with locked(store, state):
        pass


def test_file_lock_leaves_private_files(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with locked(make_store(tmp_path), tmp_path / "a/state"):
            pass
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a/state").stat().st_mode) == 0o700
    (lock,) = (tmp_path / "a/state").iterdir()
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pid": 1', "\ud800"])
def test_file_lock_without_holder_details_still_raises(tmp_path: Path, content: str) -> None:
    store, state = make_store(tmp_path), tmp_path / "state"
    with locked(store, state):
        (lock,) = state.iterdir()
        lock.write_bytes(content.encode("utf-8", "surrogatepass"))
        with pytest.raises(LockedError, match="a process that has just started"), locked(store, state):
            pytest.fail("two hold the lock")


def test_file_lock_with_unusable_state_dir_raises(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(FilesError, match="STATE_DIR") as caught,
        locked(make_store(tmp_path), tmp_path / "file"),
    ):
        pytest.fail("there is no folder")
    assert str(tmp_path / "file") in str(caught.value)


def conninfo(pg: PostgresServer, *, superuser: bool = False) -> str:
    user, password = ("postgres", pg.superuser_password) if superuser else (pg.role, pg.password)
    return f"host={pg.host} port={pg.port} dbname=postgres user={user} password={password}"


@pytest.mark.postgres(15, 18)
def test_advisory_lock_ends_with_its_holder(pg: PostgresServer, tmp_path: Path) -> None:
    store = make_store(tmp_path)
    held = holder(ADVISORY_HOLDER, tmp_path / "storage", probe=conninfo(pg))
    with held as process, open_session(pg) as session:
        with pytest.raises(
            LockedError, match=r": a backup of web-1 from 127.0.0.1, since 20\d\d-\d\d-\d\dT"
        ) as caught:
            AdvisoryLock(session, store)
        assert str(tmp_path / "storage") in str(caught.value)
        AdvisoryLock(session, make_store(tmp_path, "another/")).check()
        process.send_signal(signal.SIGKILL)
        process.wait()
        # The server notices the broken connection by itself; what it takes is its own affair.
        session.execute("SELECT pg_advisory_lock(%s)", [AdvisoryLock.key(store)])
        session.execute("SELECT pg_advisory_unlock(%s)", [AdvisoryLock.key(store)])
        AdvisoryLock(session, store).check()


def test_advisory_lock_released_is_free_while_its_session_goes_on(pg: PostgresServer, tmp_path: Path) -> None:
    """Whoever takes it next does not have to wait until the server has ended the session."""
    store = make_store(tmp_path)
    with open_session(pg) as first, open_session(pg) as second:
        lock = AdvisoryLock(first, store)
        lock.release()
        AdvisoryLock(second, store).check()
        with pytest.raises(LockedError, match="The lock was lost"):
            lock.check()
        first.close()
        lock.release()


def test_advisory_lock_of_other_role_raises_with_fewer_details(pg: PostgresServer, tmp_path: Path) -> None:
    store = make_store(tmp_path)
    with open_session(pg, superuser=True) as other, open_session(pg) as session:
        AdvisoryLock(other, store)
        with pytest.raises(LockedError, match="Another run is using"):
            AdvisoryLock(session, store)


def test_advisory_lock_check_after_loss_raises(pg: PostgresServer, tmp_path: Path) -> None:
    with open_session(pg) as session, open_session(pg, superuser=True) as admin:
        lock = AdvisoryLock(session, make_store(tmp_path))
        lock.check()
        admin.execute("SELECT pg_terminate_backend(%s)", [session.backend_pid])
        with pytest.raises(LockedError, match="The lock was lost") as caught:
            lock.check()
        assert "No backup was recorded. Run the command again." in str(caught.value)


def test_advisory_lock_check_ignores_other_locks_of_the_session(pg: PostgresServer, tmp_path: Path) -> None:
    with open_session(pg) as session:
        lock = AdvisoryLock(session, make_store(tmp_path))
        session.execute("SELECT pg_advisory_unlock_all(), pg_advisory_lock(7)")
        with pytest.raises(LockedError, match="The lock was lost"):
            lock.check()
