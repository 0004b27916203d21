"""Runs that are stopped, killed or locked out leave nothing incomplete and no process behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import assert_shown
from tests.management.clients import client_folder, gated, waiting
from tests.management.commands import Command, run_many
from tests.management.state import differences, leftovers, manifests, objects, of_project
from tests.operations.conftest import Saved
from tests.services.project import PYTHON, Project

SECONDS = 120


def wait_for(path: Path, process: subprocess.Popen[str]) -> int:
    """Wait for the process id that a program writes to ``path``."""
    deadline = time.monotonic() + SECONDS
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(path.read_text())


def runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def outcome(project: Project) -> str:
    """The outcome in the record of the newest run."""
    runs = [json.loads(path.read_text()) for path in (project.storage / "igny8/runs").glob("2*.json")]
    return str(max(runs, key=lambda run: str(run["started"]))["outcome"])


@contextmanager
def waiting_client(
    project: Project, program: str, *argv: str | Path
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A running command that waits for a program it has started; with the process id of that program."""
    started = project.folder / f"{program} has started"
    started.unlink(missing_ok=True)
    folder = project.folder / f"slow {program}"
    if not folder.exists():
        client_folder(folder, project.server.bin_dir, **{program: waiting(started)})
    with project.start(*argv, env={"IGNY8_BACKUP_CLIENT_BIN_DIR": str(folder)}) as process:
        try:
            yield process, wait_for(started, process)
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_backup_stopped_cleans_up(project: Project, number: signal.Signals, status: int) -> None:
    with waiting_client(project, "pg_dump", "backup_all", "--json") as (process, dump):
        process.send_signal(number)
        out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == status, err
    assert json.loads(out) == {
        "error": "Stopped",
        "exit_status": status,
        "message": f"Stopped by {number.name}. Unfinished work was cleaned up; a later run cleans up"
        " what could not be reached.",
    }
    assert err.startswith("CommandError: Stopped by ") and "Traceback" not in err
    assert_shown(err.replace("SIGINT", "SIGTERM").replace("SIGHUP", "SIGTERM"))
    assert not runs(dump)
    assert manifests(project) == []
    assert [path.parent.name for path in objects(project)] == ["runs"], "no object is left, nor a part of one"
    assert outcome(project) == "stopped"
    assert list(project.scratch.iterdir()) == []


def test_second_run_is_locked_out(project: Project) -> None:
    with waiting_client(project, "pg_dump", "backup_db") as (process, dump):
        assert_no_password_shows(project, process.pid, dump)
        another_host = {"STATE_DIR": str(project.folder / "state of another host")}
        another_place = project.folder / "another storage"
        identity = ["--identity", str(project.identity)]
        here, there, undo, listed, elsewhere = run_many(
            project,
            ["backup_sites", "--wait", "0"],
            Command(["backup_sites", "--json", "--wait", "0"], another_host),
            ["undo_restore"],
            ["list_backups"],
            Command(["backup_sites"], another_host, another_place),
        )
        for done in (here, undo):
            assert f"process {process.pid}, a backup, since 20" in done.ended(5).stderr
            assert "Nothing was changed. Run the command again when" in done.stderr
        failure = there.ended(5).json
        assert failure["error"] == "LockedError" and failure["exit_status"] == 5
        assert "from 127.0.0.1, since 20" in failure["message"]
        assert "There is no backup" in listed.ended(0).stdout
        elsewhere.ended(0)
        process.kill()  # it cannot clean up, but its locks are released
        process.wait()
        os.kill(dump, signal.SIGKILL)
        assert outcome(project) == "running"
        saved, planned = run_many(project, ["backup_all"], ["restore_all", "--dry-run", *identity])
    saved.ended(0)
    planned.ended(0)
    assert len(manifests(project)) == 1


def test_backup_lost_lock_records_nothing(project: Project) -> None:
    """The server ended the session that held the lock: another host may have started a run since."""
    started, gate = project.folder / "started", project.folder / "gate"
    gate.touch()
    slow = client_folder(
        project.folder / "gated", project.server.bin_dir, pg_dump=gated(started, gate, "pg_dump")
    )
    with project.start("backup_db", env={"IGNY8_BACKUP_CLIENT_BIN_DIR": str(slow)}) as process:
        wait_for(started, process)
        with project.server.connect(superuser=True) as admin:
            ended = admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)"
                " WHERE locktype = 'advisory' AND usename = %s",
                [project.server.role],
            )
            assert ended.fetchall() == [(True,)]
        gate.unlink()
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 5 and "Traceback" not in err
    assert "The lock was lost" in err and "No backup was recorded. Run the command again." in err
    assert manifests(project) == []
    assert outcome(project) == "failed"


def assert_no_password_shows(project: Project, *pids: int) -> None:
    """Neither the command lines, which every user can see, nor the dump's environment show the password."""
    argv = (project.folder / "pg_dump has started.argv").read_text()
    shown = [argv, *(Path(f"/proc/{pid}/cmdline").read_text() for pid in pids)]
    shown.append(Path(f"/proc/{pids[-1]}/environ").read_text().replace("DATABASE_URL=", ""))
    url = project.environment["DATABASE_URL"]
    assert "--format=custom" in argv
    assert not any(project.server.password in text.replace(url, "") for text in shown)
    assert not any(project.server.password in path.read_text() for path in project.scratch.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_restore_stopped_before_swap_changes_nothing(saved: Saved, number: signal.Signals) -> None:
    project, before = saved.project, of_project(saved.project)
    with waiting_client(project, "pg_restore", *saved.restore) as (process, load):
        assert len(project.databases()) == 2, "the side database is there"
        process.send_signal(number)
        _, err = process.communicate(timeout=SECONDS)
    if number == signal.SIGTERM:
        assert process.returncode == 143 and "Traceback" not in err
        assert not runs(load)
        assert leftovers(project) == []
        assert differences(before, of_project(project)) == []
        return
    os.kill(load, signal.SIGKILL)
    assert differences(before, of_project(project)) == []
    (side,) = [name for name in project.databases() if name != project.database]
    project.sql("DELETE FROM igny8_sites_pageview")
    listed, planned, refused, done, discarded = run_many(
        project,
        ["list_backups"],
        ["restore_all", "--dry-run", "--identity", project.identity],
        ["undo_restore", "--discard", "--noinput"],
        [*saved.restore, "--only", "db"],
        ["undo_restore", "--discard", "--noinput"],
    )
    assert "UNFINISHED" in listed.ended(0).stdout and "It has changed nothing live" in listed.stdout
    assert f"removes what it left: {side}; the new files in {project.sites};" in listed.stdout
    assert "An earlier restore" in planned.ended(0).stdout
    assert "A restore is unfinished" in refused.ended(2).stderr
    assert "interrupted before it changed anything" in done.ended(0).stderr
    assert "data that 1 restore had kept" in discarded.ended(0).stdout
    assert side not in project.databases()
    saved.assert_restored()


@pytest.mark.parametrize(("swapped", "way"), [(0, "back"), (1, "on"), (2, "back")])
def test_restore_power_cut_during_swap_is_settled_by_next_run(saved: Saved, swapped: int, way: str) -> None:
    project = saved.project
    project.sql("DELETE FROM igny8_sites_pageview")
    for root in (project.sites, project.uploads):
        (root / "later").write_text("written after the backup")
    later = of_project(project)
    # The journal says "swapping" before the database, and before each of the two trees.
    power_cut(project, "restore", "swapping", swapped + 1)
    assert restored_parts(project, saved.before, later) == ["database", "sites-data", "uploads"][:swapped]
    if way == "on":
        # Neither the identity nor the name of the database is needed: the journal has them.
        listed, done = run_many(project, ["list_backups"], ["restore_all"])
        assert "UNFINISHED" in listed.ended(0).stdout
        assert "during the swap. restore_all completes it, undo_restore undoes it" in listed.stdout
        assert "An interrupted restore or undo was completed." in done.ended(0).stdout
        saved.assert_restored()
        power_cut(project, "undo", "undoing", 1)
        saved.assert_restored()
    # undo_restore completes an interrupted restore and undoes it; restore_all completes an interrupted undo.
    undone, discarded = run_many(
        project,
        ["restore_all" if way == "on" else "undo_restore"],
        ["undo_restore", "--discard", "--noinput"],
    )
    assert "The data from before the restore is live again." in undone.ended(0).stdout
    assert differences(later, of_project(project)) == []
    discarded.ended(0)


def restored_parts(project: Project, before: dict[str, Any], later: dict[str, Any]) -> list[str]:
    """Which of the three are as in the backup. Fails if one is neither that nor as it was live."""
    now, restored = of_project(project), []
    for name, prefix in (("database", ""), ("sites-data", "sites-data/"), ("uploads", "uploads/")):
        parts = [
            {
                key: what
                for key, what in state.items()
                if key.startswith(prefix) and (prefix or "/" not in key)
            }
            for state in (now, before, later)
        ]
        assert parts[0] in parts[1:], name
        if parts[0] == parts[1]:
            restored.append(name)
    return restored


def power_cut(project: Project, work: str, phase: str, number: int) -> None:
    """Run a restore or an undo that is cut off when its journal is written with ``phase`` the n-th time."""
    done = subprocess.run(
        [*PYTHON, Path(__file__).with_name("power_cut.py"), work, phase, str(number), project.identity],
        capture_output=True,
        text=True,
        cwd=project.folder,
        env=project.environment,
        timeout=SECONDS,
    )
    assert done.returncode == 99, done.stderr
