"""Hosts without a database that share a storage: one run at a time, all of them in the end."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from demo.server import PostgresServer
from django.core.files.storage import FileSystemStorage

from igny8_backup.errors import LockedError
from igny8_backup.locks.storage import storage_lock
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.monitor.run import monitor
from igny8_backup.store import open_store
from tests.bad_input.database import running
from tests.management.commands import Command, run_many
from tests.services.project import Project, create, drop

pytestmark = pytest.mark.slow

HOSTS = ("web-1", "web-2", "web-3")


@pytest.fixture
def shared(postgres_18: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project whose storage exists, and whose hosts back up no database."""
    project = create(postgres_18, tmp_path_factory.mktemp("hosts"))
    project.settings(
        "import os\nIGNY8_BACKUP |= {'DATABASES': [], 'STATE_DIR': os.environ['IGNY8_BACKUP_STATE_DIR']}"
    )
    (project.uploads / "page").write_text("text")
    (project.storage / "igny8").mkdir()
    yield project
    drop(project)


def on_host(project: Project, host: str) -> dict[str, str]:
    return {"IGNY8_BACKUP_HOST": host, "IGNY8_BACKUP_STATE_DIR": str(project.folder / f"state of {host}")}


@contextmanager
def held(storage: Path) -> Iterator[None]:
    """Hold the lock in the storage as another host does."""
    with (
        open_store(FileSystemStorage(location=storage), "igny8/") as store,
        storage_lock(store, None, host="web-0", state_dir=storage.parent / "another", doing="a backup"),
    ):
        yield


def manifests(project: Project) -> list[dict[str, str]]:
    return [json.loads(path.read_text()) for path in project.storage.rglob("manifest.json")]


def test_backups_of_three_hosts_at_the_same_minute_all_succeed(shared: Project) -> None:
    with ExitStack() as stack, ExitStack() as another:
        another.enter_context(held(shared.storage))
        commands = [
            stack.enter_context(running(shared, "backup_sites", "uploads", env=on_host(shared, host)))
            for host in HOSTS
        ]
        for command in commands:  # without a terminal they wait
            assert "a backup on host web-0, since" in command.wait_for("Waiting up to 14400 s")
        another.close()
        for command in commands:
            command.ends().ended(0)
    made = sorted(manifests(shared), key=lambda item: item["started"])
    assert sorted(item["host"] for item in made) == list(HOSTS)
    for earlier, later in zip(made, made[1:], strict=False):
        assert datetime.fromisoformat(earlier["finished"]) <= datetime.fromisoformat(later["started"])
    assert not (shared.storage / "igny8/locks").exists() or not os.listdir(shared.storage / "igny8/locks")


def test_backup_that_gave_up_waiting_is_listed_and_monitored(shared: Project) -> None:
    env = on_host(shared, "web-2")
    with held(shared.storage):
        at_once, given_up = run_many(
            shared,
            ["backup_sites", "uploads", "--wait", "0"],
            Command(["backup_sites", "uploads", "--wait", "0.2"]),
            env=env,
        )
    for done in (at_once, given_up):
        assert "Another run is using" in done.ended(5).stderr and "on host web-0" in done.stderr
    listed, monitored = run_many(shared, ["list_backups"], ["monitor_backups"], env=env)
    assert listed.ended(0).stdout.count("NOT MADE") == 1
    assert "the backup of uploads on host web-2, 20" in listed.stdout
    assert "another run held the lock for too long" in listed.stdout
    assert "ended locked" in monitored.ended(7).output


def test_backup_started_twice_is_no_failure_if_one_of_them_succeeded(context: BackupContext) -> None:
    """The run that waited in vain started while the other one made the backup."""
    request = BackupRequest(trees=("sites",))
    run_backup(context, request)
    with context.locked("a backup"), pytest.raises(LockedError):
        run_backup(replace(context, wait=0.01), request)
    assert any(item.name == "run" and not item.ok for item in monitor(context).conditions)
    asked = context.catalog.runs()[0].started
    later = replace(context, clock=lambda: asked)
    run_backup(later, request)
    assert not any(item.name == "run" and not item.ok for item in monitor(context).conditions)
