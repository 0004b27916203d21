"""Client programs that fail, print garbage or are missing: no backup, and an error that quotes them."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import pytest

from igny8_backup.databases.postgresql.connections.installed import uses_psycopg3
from igny8_backup.errors import DatabaseError, IntegrityError, ToolError, ToolMissingError, ToolTooOldError
from tests.databases.fakes import fake, link
from tests.databases.stage import Stage
from tests.services.project import Project


@pytest.fixture
def faked(stage: Stage, tmp_path: Path) -> Stage:
    """The stage with its own folder of client programs, which holds the real ``pg_restore`` only."""
    link(tmp_path / "bin", stage.server.bin_dir / "pg_restore")
    stage.bin_dir = tmp_path / "bin"
    return stage


def dump(stage: Stage) -> bytes:
    engine = stage.engine
    return b"".join(engine.dump(engine.describe(())))


def test_dump_failing_after_a_megabyte_raises(faked: Stage) -> None:
    real = faked.server.bin_dir / "pg_dump"
    script = f'{real} "$@"; head -c 1048576 /dev/zero; echo "server closed the connection" >&2; exit 1'
    fake(faked.bin_dir, "pg_dump", script)
    size = 0
    engine = faked.engine
    raises = pytest.raises(ToolError, match="status 1: server closed the connection")
    with closing(engine.dump(engine.describe(()))) as blocks, raises:
        for block in blocks:
            size += len(block)
    assert size > 1 << 20


def test_dump_killed_raises(faked: Stage) -> None:
    fake(faked.bin_dir, "pg_dump", f'{faked.server.bin_dir}/pg_dump "$@"; kill -9 $$')
    with pytest.raises(ToolError, match="SIGKILL"):
        dump(faked)


def test_dump_without_pg_dump_names_package(faked: Stage) -> None:
    with pytest.raises(ToolMissingError, match="no pg_dump in .*postgresql-client-18"):
        faked.engine.versions()
    with pytest.raises(ToolMissingError, match="no pg_dump in"):
        dump(faked)


def test_dump_with_older_pg_dump_is_refused(faked: Stage) -> None:
    fake(faked.bin_dir, "pg_dump", "echo never run; exit 0", version="13.1")
    for ask in (faked.engine.versions, lambda: dump(faked)):
        with pytest.raises(ToolTooOldError, match="13.1.*postgresql-client-18"):
            ask()


def test_dump_with_older_pg_restore_is_refused(faked: Stage) -> None:
    link(faked.bin_dir, faked.server.bin_dir / "pg_dump")
    (faked.bin_dir / "pg_restore").unlink()
    fake(faked.bin_dir, "pg_restore", "exit 0", version="17.2")
    with pytest.raises(ToolTooOldError, match="17.2"):
        dump(faked)


@pytest.mark.parametrize("output", ["head -c 3000000 /dev/urandom", "true", "echo hello"])
def test_dump_of_garbage_with_exit_status_0_raises(faked: Stage, output: str) -> None:
    fake(faked.bin_dir, "pg_dump", f"{output}; exit 0")
    with pytest.raises(
        IntegrityError, match="pg_restore cannot read the dump that pg_dump wrote.*Run the backup again"
    ):
        dump(faked)


def test_dump_of_endless_garbage_stops_early(faked: Stage) -> None:
    fake(faked.bin_dir, "pg_dump", "while head -c 100000 /dev/zero; do :; done")
    with pytest.raises(IntegrityError, match="cannot read the dump"):
        dump(faked)


def test_dump_ended_by_server_reports_its_message(faked: Stage) -> None:
    link(faked.bin_dir, faked.server.bin_dir / "pg_dump")
    with faked.server.connect(faked.name) as blocker, blocker.transaction():
        blocker.execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
        waiting = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'" \
            " AND datname = %s AND application_name = 'igny8_backup'"  # fmt: skip
        failed: list[Exception] = []

        def run() -> None:
            try:
                dump(faked)
            except DatabaseError as error:
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        while not faked.admin(waiting, faked.name):
            thread.join(0.05)
        thread.join()
    # psycopg2 shows the last message only: that of libpq.
    expected = "terminating connection due to administrator command"
    assert (expected if uses_psycopg3() else "server closed the connection unexpectedly") in str(failed[0])
    assert "Look in the server's log for why it ended the connection." in str(failed[0])


def test_dump_with_row_level_security_names_bypassrls_for_role_of_backups(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = stage.make_role("reader", "LOGIN IN ROLE pg_read_all_data")
    stage.sql("ALTER TABLE item ENABLE ROW LEVEL SECURITY")
    engine = stage.engine_with(USER=role)
    with pytest.raises(ToolError, match="(?s)row-level security.*create a role for backups") as caught:
        list(engine.dump(engine.describe(())))
    assert "ALTER" not in str(caught.value), "the role of the application keeps its policies"
    monkeypatch.setattr("dbbackup.settings.CONNECTORS", {stage.alias: {"USER": role}})
    engine = stage.engine
    with pytest.raises(ToolError, match=f'(?s)row-level security.*ALTER ROLE "{role}" BYPASSRLS'):
        list(engine.dump(engine.describe(())))


def test_dump_without_privilege_names_grant(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    role = stage.make_role("blind", "LOGIN")
    monkeypatch.setattr("dbbackup.settings.CONNECTORS", {stage.alias: {"USER": role}})
    engine = stage.engine
    with pytest.raises(ToolError, match=f'(?s)permission denied.*GRANT pg_read_all_data TO "{role}"'):
        list(engine.dump(engine.describe(())))


def test_backup_of_invalid_dump_is_not_recorded(project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    link(folder, project.server.bin_dir / "pg_restore")
    fake(folder, "pg_dump", "head -c 300000 /dev/zero")
    done = project.run("backup_db", env={"IGNY8_BACKUP_CLIENT_BIN_DIR": str(folder)})
    assert done.returncode == 6
    assert "cannot read the dump" in done.stderr and "Traceback" not in done.stderr
    assert [path for path in project.storage.rglob("*") if path.is_file() and "backups" in path.parts] == []
