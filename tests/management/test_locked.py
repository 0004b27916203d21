"""Commands that meet another run name it and end with status 5, or wait for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from demo.server import PostgresServer
from django.core.files.storage import FileSystemStorage
from django.core.management import get_commands, load_command_class

from igny8_backup.locks.host import file_lock
from igny8_backup.store import open_store
from tests.bad_input.database import running
from tests.docs.pages import assert_shown
from tests.management.commands import run_many
from tests.services.project import Project, create, drop

SINCE = datetime(2026, 11, 22, 1, 15, tzinfo=UTC)
HOLDER = f"process {os.getpid()}, a backup by hand, since 2026-11-22T01:15:00+00:00"


@pytest.fixture(scope="module")
def twice(postgres_18: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with an older and a newer backup of its uploads."""
    project = create(postgres_18, tmp_path_factory.mktemp("twice"))
    for text in ("old", "new"):
        (project.uploads / "page").write_text(text)
        (done,) = run_many(project, ["backup_sites", "uploads"])
        done.ended(0)
    yield project
    drop(project)


def ids(project: Project) -> list[str]:
    return sorted(path.name for path in (project.storage / "igny8/backups").iterdir())


@contextmanager
def held(project: Project, folder: str = "") -> Iterator[None]:
    """Hold the lock of the host, or the one in a folder below ``STATE_DIR``."""
    store = open_store(FileSystemStorage(location=project.storage), "igny8/")
    with file_lock(store, project.state / folder, doing="a backup by hand", now=SINCE):
        yield


def restore(project: Project) -> list[str]:
    return ["restore_all", "--only", "uploads", "--noinput", "--identity", str(project.identity)]


def test_locked_command_names_the_other_run(twice: Project) -> None:
    backup_id = ids(twice)[-1]
    lines = [
        ["backup_all"],
        ["backup_db"],
        ["backup_sites"],
        ["prune_backups"],
        ["pin_backup", backup_id, "--reason", "for a test"],
        ["accept_backup", backup_id, "--reason", "for a test"],
        ["retire_host", "web-1", "--reason", "for a test"],
        restore(twice),
        ["restore_all", "--in-place", "--noinput", "--database-name", twice.database],
        ["undo_restore"],
        ["undo_restore", "--discard", "--noinput"],
        ["drill_backup", "--identity", str(twice.identity)],
    ]
    waiting_commands = {name for name in own_commands() if "--wait" in options(name)}
    # Here the backups have the recipients of the settings, so that rotate_recipients takes no lock.
    # backup_fleet takes no lock on its own host, where it changes nothing, but the one in the storage.
    assert {line[0] for line in lines} == waiting_commands - {"rotate_recipients", "backup_fleet"}
    with held(twice), held(twice, "drill"):
        waiting = run_many(twice, *([*line, "--wait", "0.4"] for line in lines))
        at_once = ["--wait", "0"]
        unwaiting = run_many(twice, *([*line, *at_once] for line in lines if "--in-place" not in line))
        (as_json,) = run_many(twice, ["undo_restore", "--json"])
    for done in (*waiting, *unwaiting):
        message = (
            f"{HOLDER}. Nothing was changed. Run the command again when the other run has ended, or let it"
            " wait:"
        )
        assert message in done.ended(5).stderr, done
        assert done.stderr.count(HOLDER) == (1 if "0" in done.argv else 2)
    assert_shown(unwaiting[0].stderr.replace("a backup by hand", "a backup"))
    assert all("for the other run to end. Another run is using" in done.stderr for done in waiting)
    assert as_json.ended(5).json["error"] == "LockedError" and HOLDER in as_json.json["message"]
    assert (twice.uploads / "page").read_text() == "new" and not list(twice.uploads.glob(".before-*"))


def own_commands() -> list[str]:
    return [name for name, app in get_commands().items() if app == "igny8_backup"]


def options(name: str) -> set[str]:
    parser: Any = load_command_class("igny8_backup", name).create_parser("manage.py", name)
    return {option for action in parser._actions for option in action.option_strings}


def test_dry_run_does_not_wait_for_the_lock(twice: Project) -> None:
    with held(twice):
        planned, pruned, *refused = run_many(
            twice,
            [*restore(twice), "--dry-run"],
            ["prune_backups", "--dry-run"],
            ["prune_backups", "--dry-run", "--wait", "600"],
            ["undo_restore", "--discard", "--stop-workers", "--wait", "600"],
        )
    assert any(f"backup {backup_id}" in planned.ended(0).stdout for backup_id in ids(twice))
    pruned.ended(0)
    for done in refused:
        assert "not allowed with argument" in done.ended(2).stderr and HOLDER not in done.stderr


def after_another(project: Project, *argv: str, meanwhile: Callable[[], object] = lambda: None) -> str:
    """Start a command while another run holds the lock; return its output after it succeeded."""
    with ExitStack() as other:
        other.enter_context(held(project))
        with running(project, *argv, "--wait", "600") as command:
            assert HOLDER in command.wait_for("Waiting up to 600 s for the other run to end.")
            meanwhile()
            other.close()
            return command.ends().ended(0).stdout


def test_command_that_waited_uses_the_newest_state(twice: Project) -> None:
    _, new = ids(twice)
    manifest = twice.storage / "igny8/backups" / new / "manifest.json"
    moved, page = twice.folder / "moved.json", twice.uploads / "page"
    page.write_text("wrong")
    manifest.rename(moved)
    output = after_another(twice, *restore(twice), meanwhile=lambda: moved.rename(manifest))
    assert f"Restored from {new}." in output and page.read_text() == "new"
    assert "live again" in after_another(twice, "undo_restore") and page.read_text() == "wrong"
    assert "1 restore had kept" in after_another(twice, "undo_restore", "--discard", "--noinput")
    assert "is pinned" in after_another(twice, "pin_backup", new, "--reason", "for a test")
