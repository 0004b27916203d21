"""The tasks that verify, prune and monitor; the reports of tasks and commands."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from igny8_backup.errors import FilesError, IncompleteError, IntegrityError, UnhealthyError, UsageError
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.status.keep import read_activity, read_status
from igny8_backup.tasks import (
    backup_all,
    backup_sites,
    drill_backup,
    monitor_backups,
    pin_backup,
    prune_backups,
    verify_backup,
)
from tests.operations.conftest import context, trees  # noqa: F401  (fixtures)
from tests.services.web import WebServer, web_server

pytestmark = pytest.mark.slow

Trees = tuple[Path, Path]


@pytest.fixture
def web() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


def run(task: Any, *args: Any, **kwargs: Any) -> Any:
    """Run the task; return what it returns, raise what it raises."""
    return task.apply(args=args, kwargs=kwargs, throw=True).get()


def test_upkeep_tasks_a_week_succeeds(
    context: BackupContext,  # noqa: F811 - a fixture
    trees: Trees,  # noqa: F811 - a fixture
    web: WebServer,
    tmp_path: Path,
) -> None:
    (tmp_path / "storage").mkdir()
    with pytest.raises(UsageError, match="There is no backup"):
        run(verify_backup)
    made = run(backup_all, ping=f"{web.url}/night", wait=1)
    assert web.paths == ["/night/start", "/night"]
    assert run(prune_backups, wait=1) == {"removed": [], "swept": 0, "waiting": 0, "healed": 0}
    checked = run(verify_backup, ping=f"{web.url}/week")
    assert checked["ids"] == [made["id"]] and checked["read"] == checked["objects"] > 3
    assert run(verify_backup, every=True, sample=5)["ids"] == [made["id"]]
    assert run(verify_backup, sample="5%")["ids"] == [made["id"]]
    for sample in (0, 101, -1, "0%", "half", 5.5, None, ""):
        with pytest.raises(UsageError, match="is not a whole number from 1 to 100"):
            run(verify_backup, sample=sample)
    healthy = run(monitor_backups, ping=f"{web.url}/hour")
    assert healthy["healthy"] and healthy["conditions"] > 5
    assert web.paths[2:] == ["/week/start", "/week", "/hour/start", "/hour"]


def test_pin_task_pins_a_backup_and_refreshes_the_status(context: BackupContext) -> None:  # noqa: F811 - a fixture
    made = run(backup_all, wait=1)
    assert run(pin_backup, made["id"], "before the move") == {"id": made["id"]}
    status = read_status(context.config).status
    assert status and [(item.id, item.pin) for item in status.backups] == [(made["id"], "before the move")]
    with pytest.raises(UsageError, match="needs a reason"):
        run(pin_backup, made["id"], " ")
    with pytest.raises(UsageError, match="There is no backup"):
        run(pin_backup, "20260101T000000Z-abcdef", "why not")


def test_drill_task_drills_a_backup_and_refreshes_the_status(context: BackupContext) -> None:  # noqa: F811 - a fixture
    made = run(backup_all, wait=1)
    assert run(drill_backup, made["id"]) == {"ids": [made["id"]]}
    status = read_status(context.config).status
    assert status and all(part.drilled for part in status.parts)
    newest = read_activity(context.config).works[0]
    assert (newest.what, newest.error) == ("a drill", "") and newest.ended


def test_upkeep_tasks_failures_are_raised_and_reported(
    context: BackupContext,  # noqa: F811 - a fixture
    trees: Trees,  # noqa: F811 - a fixture
    web: WebServer,
) -> None:
    made = run(backup_all)
    shutil.move(trees[1], trees[1].with_name("away"))
    with pytest.raises(IncompleteError, match="uploads"):
        run(backup_all, ping=web.url)
    with pytest.raises(FilesError):
        run(backup_sites, "uploads", ping=web.url)
    with pytest.raises(IncompleteError, match="BLOCKED: no copy of files uploads"):
        run(prune_backups, ping=web.url)
    pack = next(item for item in context.catalog.get(made["id"]).objects() if "packs/" in item.key)
    context.store.delete(pack.key)
    with pytest.raises(IntegrityError, match=f"MISSING: .*{pack.key}"):
        run(verify_backup, made["id"], ping=web.url)
    with pytest.raises(UnhealthyError, match="FAILED complete, files uploads"):
        run(monitor_backups, ping=web.url)
    failures = [body for _, path, body in web.asked if path == "/fail"]
    assert web.paths == ["/start", "/fail"] * 5
    for body, words in zip(
        failures, ("uploads FAILED: The folder", "uploads", "BLOCKED", "MISSING", "FAILED"), strict=True
    ):
        assert words in body


def test_backup_task_of_an_emptied_tree_is_incomplete(
    context: BackupContext,  # noqa: F811 - a fixture
    trees: Trees,  # noqa: F811 - a fixture
    web: WebServer,
) -> None:
    run(backup_all)
    shutil.rmtree(trees[0])
    trees[0].mkdir()
    with pytest.raises(IncompleteError, match="sites SUSPECT: it has 0 files"):
        run(backup_all, ping=web.url)
    assert web.paths == ["/start", "/fail"]


def test_backup_task_second_delivery_sends_no_ping(
    context: BackupContext,  # noqa: F811 - a fixture
    trees: Trees,  # noqa: F811 - a fixture
    web: WebServer,
) -> None:
    for _ in range(2):
        backup_all.apply(kwargs={"ping": web.url}, task_id="one", throw=True)
    assert web.paths == ["/start", "", "/start"] or web.paths == ["/start", "/", "/start"]


def test_commands_ping_like_tasks(
    context: BackupContext,  # noqa: F811 - a fixture
    trees: Trees,  # noqa: F811 - a fixture
    web: WebServer,
) -> None:
    for name in ("backup_all", "backup_sites", "verify_backup", "prune_backups", "monitor_backups"):
        call_command(name, ping=f"{web.url}/{name}")
        assert web.paths[-2:] == [f"/{name}/start", f"/{name}"]
    shutil.move(trees[1], trees[1].with_name("away"))
    for name, status in (("backup_all", 3), ("prune_backups", 3), ("monitor_backups", 7)):
        with pytest.raises(CommandError) as caught:
            call_command(name, ping=f"{web.url}/{name}")
        assert caught.value.returncode == status
        _, path, body = web.asked[-1]
        assert path == f"/{name}/fail" and "uploads" in body
