"""Workers that are killed in the middle of a backup: nothing incomplete counts, and the next run succeeds."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from igny8_backup.operations.context import BackupContext, open_context
from igny8_backup.operations.maintain.orphans import OrphanReport, find_orphans
from igny8_backup.operations.maintain.pruning.prune import prune
from tests.management.commands import run_many
from tests.management.state import manifests
from tests.services.project import Project
from tests.tasks.celery_app import REDELIVER_SOON, SECONDS, Program, worker

SETTINGS = """
CELERY_TASK_ANNOTATIONS = {{"*": {{"acks_late": True}}}}
STORAGES["dbbackup"]["BACKEND"] = "gated.Gated"
STORAGES["dbbackup"]["OPTIONS"]["location"] = {storage!r}
"""

# A storage that accepts half of an object and then waits while the gate is shut.
GATED = """
import time
from pathlib import Path
from django.core.files.storage import FileSystemStorage

GATE = Path({gate!r})

class Gated(FileSystemStorage):
    def _save(self, name, content):
        if GATE.exists() and GATE.read_text() in name:
            path = Path(self.path(name))
            path.parent.mkdir(parents=True)
            path.write_bytes(content.read({half}))
            while GATE.exists():
                time.sleep(0.05)
        return super()._save(name, content)
"""
HALF = 1 << 20
MEBIBYTES = 64
"""More than all buffers between a program and the storage hold."""


class Gate:
    """Shut for the objects whose keys contain a word."""

    def __init__(self, project: Project) -> None:
        self._path = project.folder / "gate"
        self._storage = project.storage
        folder = Path(project.folder, "settings")
        settings = folder / "further_settings.py"
        settings.write_text(
            settings.read_text() + REDELIVER_SOON + SETTINGS.format(storage=str(project.storage))
        )
        (folder / "gated.py").write_text(GATED.format(gate=str(self._path), half=HALF))

    @contextmanager
    def shut(self, word: str) -> Iterator[None]:
        self._path.write_text(word)
        try:
            yield
        finally:
            self._path.unlink()

    def wait_for_half(self, program: Program, word: str) -> str:
        """Wait until half of such an object is stored; return its key."""

        def halves() -> list[Path]:
            named = [path for path in self._storage.rglob("*.age") if word in str(path)]
            return [path for path in named if path.stat().st_size == HALF]

        program.wait_until(halves)
        (half,) = halves()
        return str(half.relative_to(self._storage / "igny8"))


@pytest.fixture
def gate(queued: Project) -> Gate:
    return Gate(queued)


def runs(project: Project) -> list[tuple[str, str]]:
    """The task ids and outcomes of all runs, oldest first."""
    found = [json.loads(path.read_text()) for path in (project.storage / "igny8/runs").glob("2*.json")]
    return [(run["task_id"], run["outcome"]) for run in sorted(found, key=lambda run: str(run["started"]))]


def below(pid: int) -> dict[int, str]:
    """All descendants of a process, with their command lines."""
    found: dict[int, str] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            argv = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
            found |= {child: " ".join(argv)} | below(child)
    return found


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def kill(program: Program, reader: str) -> None:
    """Kill the worker and its pool while a ``reader`` works: that one ends by itself, because nobody reads
    its output any more."""
    started = below(program.process.pid)
    assert any(reader in argv for argv in started.values()), started
    os.killpg(program.process.pid, signal.SIGKILL)
    program.process.wait()
    deadline = time.monotonic() + SECONDS
    while left := {pid: argv for pid, argv in started.items() if is_running(pid)}:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def orphans(project: Project, state: str) -> list[str]:
    (done,) = run_many(project, ["list_backups", "--orphans", "--json"])
    return [item["key"] for item in done.ended(0).json[state]]


@pytest.fixture
def context(queued: Project, settings: Any) -> Iterator[BackupContext]:
    """A context over the project's storage, in this process, with a settable clock."""
    storage = {**settings.STORAGES["dbbackup"], "OPTIONS": {"location": str(queued.storage)}}
    settings.STORAGES = {**settings.STORAGES, "dbbackup": storage}
    settings.IGNY8_BACKUP = {
        "DATABASES": [], "STATE_DIR": queued.state, "SCRATCH_DIR": queued.scratch, "ENCRYPTION": None
    }  # fmt: skip
    with open_context() as made:
        yield made


def swept_later(context: BackupContext) -> list[str]:
    """What is an orphan an hour later, when all heartbeats are old, and removed the day after."""

    def later(hours: int) -> BackupContext:
        now = datetime.now(UTC) + timedelta(hours=hours)
        return replace(context, clock=lambda: now)

    found = find_orphans(later(1))
    assert found == OrphanReport(orphans=found.orphans)
    assert prune(later(1)).waiting == found.orphans
    assert prune(later(22)).swept == found.orphans
    assert find_orphans(later(22)) == OrphanReport()
    return [item.key for item in found.orphans]


def test_backup_task_killed_during_dump_runs_again(
    queued: Project, app: Celery, gate: Gate, context: BackupContext
) -> None:
    project, task_id = queued, str(uuid.uuid4())
    with project.server.connect(project.database) as session:
        session.execute("CREATE TABLE filler (bytes bytea)")
        for _ in range(MEBIBYTES // 2):  # in hexadecimal this is twice as much
            session.execute("INSERT INTO filler VALUES (%s)", [os.urandom(1 << 20)])
    with worker(project, "killed", "--pool=prefork") as killed, gate.shut("/db/"):
        app.send_task("igny8_backup.backup_all", task_id=task_id)
        half = gate.wait_for_half(killed, "/db/")
        kill(killed, "pg_dump")
    assert manifests(project) == [] and runs(project) == [(task_id, "running")]
    assert orphans(project, "in_use") == [half], "an hour later nobody will think so any more"

    with worker(project, "next", "--pool=prefork") as following:
        following.wait_for(f"[{task_id}] succeeded")  # Redis has returned the message
        app.send_task("igny8_backup.backup_all", task_id=task_id)
        following.wait_for(f"[{task_id}] succeeded", times=2)
    assert runs(project) == [(task_id, "running"), (task_id, "complete")]
    (made,) = manifests(project)
    parts = json.loads(made.read_text())
    assert [part["state"] for part in parts["databases"] + parts["trees"]] == ["complete"] * 3
    assert swept_later(context) == [half] and manifests(project) == [made]


def test_backup_task_killed_during_tree_and_delivered_twice_runs_once(
    queued: Project, app: Celery, gate: Gate, context: BackupContext
) -> None:
    project, task_id = queued, str(uuid.uuid4())
    (project.sites / "large").write_bytes(os.urandom(MEBIBYTES << 20))
    with worker(project, "killed", "--pool=prefork") as killed, gate.shut("packs/"):
        app.send_task("igny8_backup.backup_all", task_id=task_id)
        half = gate.wait_for_half(killed, "packs/")
        with worker(project, "other", "--pool=solo") as other:
            other.wait_for(f"Task igny8_backup.backup_all[{task_id}] ignored")
        kill(killed, "archive.worker")
    assert manifests(project) == [] and runs(project) == [(task_id, "running")]

    with worker(project, "next", "--pool=prefork"):
        done = app.send_task("igny8_backup.backup_all").get(timeout=SECONDS)
    assert [outcome for _, outcome in runs(project)] == ["running", "complete"]
    (made,) = manifests(project)
    assert made.parent.name == done["id"]
    assert half in (swept := swept_later(context)) and all("/db/" in key or "packs/" in key for key in swept)
    assert manifests(project) == [made]
