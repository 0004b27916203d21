"""SQLite is refused outside DEBUG before anything is read or written; in DEBUG it is supported."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from demo.server import PostgresServer

from igny8_backup import tasks
from igny8_backup.errors import RefusedError
from tests.docs.pages import assert_shown
from tests.management.commands import run_many
from tests.management.state import modes
from tests.services.project import Project


@pytest.fixture
def bare(postgres_18: PostgresServer, tmp_path: Path) -> Project:
    """A project whose database is SQLite and does not exist yet. Its storage is empty."""
    project = Project(postgres_18, tmp_path)
    # Migrations are many small transactions, and none has to survive a power failure.
    options = {"init_command": "PRAGMA synchronous = OFF"}
    project.settings(
        "DATABASES['default'] = {'ENGINE': 'django.db.backends.sqlite3',"
        f" 'NAME': {str(tmp_path / 'db')!r}, 'OPTIONS': {options!r}}}"
    )
    (project.uploads / "file").write_text("as it was\n")
    return project


COMMANDS = [
    ["backup_db"],
    ["backup_db", "default"],
    ["backup_sites"],
    ["backup_all"],
    ["list_backups"],
    ["show_backup", "20261122T021500Z-7f3a9c"],
    ["restore_all"],
    ["restore_all", "--dry-run"],
    ["restore_all", "--only", "files", "--noinput"],
    ["undo_restore"],
    ["undo_restore", "--discard", "--noinput"],
]


def test_command_with_sqlite_outside_debug_is_refused(bare: Project) -> None:
    for done in run_many(bare, *COMMANDS, *([*command, "--json"] for command in COMMANDS)):
        assert "is SQLite and DEBUG is off" in done.ended(4).stderr
        assert "Nothing was read or written. Set DATABASE_URL" in done.stderr
        assert_shown(done.stderr)
        if "--json" in done.argv:
            assert (done.json["error"], done.json["exit_status"]) == ("RefusedError", 4)
    assert not (bare.folder / "db").exists(), "not even opened, which would have made it"
    for folder in (bare.storage, bare.state, bare.scratch):
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize("task", [tasks.backup_db, tasks.backup_sites, tasks.backup_all])
def test_task_with_sqlite_outside_debug_is_refused(task: Any, settings: Any, tmp_path: Path) -> None:
    assert settings.DATABASES["default"]["ENGINE"].endswith("sqlite3") and not settings.DEBUG
    settings.STORAGES = {
        **settings.STORAGES,
        "dbbackup": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(tmp_path / "storage")},
        },
    }
    settings.IGNY8_BACKUP = {"STATE_DIR": tmp_path / "state", "SITES": {"tree": tmp_path}, "ENCRYPTION": None}
    result = task.apply()
    assert result.failed() and isinstance(result.result, RefusedError)
    assert "is SQLite and DEBUG is off" in str(result.result)
    assert list(tmp_path.iterdir()) == []


def test_sqlite_in_debug_is_backed_up_and_restored(bare: Project) -> None:
    path = bare.folder / "db"
    debug = {"DJANGO_DEBUG": "1", "IGNY8_BACKUP_RECIPIENTS": ""}
    # Without a storage and without a key, as a developer starts.
    settings = bare.folder / "settings/further_settings.py"
    settings.write_text(
        f"{settings.read_text()}\nBASE_DIR = {str(bare.folder)!r}\n"
        "del STORAGES['dbbackup'], IGNY8_BACKUP['STATE_DIR']\n"
    )
    bare.environment["DATABASE_URL"] = ""

    migrated, made, listed = run_many(bare, ["migrate", "-v0"], ["backup_all"], ["list_backups"], env=debug)
    migrated.ended(0)
    assert "STORAGES has no 'dbbackup': with DEBUG on, backups go to" in made.ended(0).stderr
    assert "No recipient is set: with DEBUG on, backups are stored unencrypted" in made.stderr
    assert "NOT ENCRYPTED" in made.stdout
    assert "complete, unencrypted" in listed.ended(0).stdout
    home = bare.folder / ".igny8_backup"
    assert home.stat().st_mode & 0o777 == 0o700
    assert modes(home / "backups") | modes(home / "state") == {"file 600", "folder 700"}

    change(path, "CREATE TABLE later (id int)")
    (bare.uploads / "file").write_text("changed\n")
    unnamed, restored = run_many(
        bare,
        ["restore_all", "--noinput"],
        ["restore_all", "--noinput", "--database-name", path],
        env=debug,
    )
    assert "--database-name" in unnamed.ended(2).stderr
    assert "Migrating the restored databases" in restored.ended(0).stderr
    assert "later" not in tables(path) and (bare.uploads / "file").read_text() == "as it was\n"
    undone, discarded = run_many(
        bare, ["undo_restore"], ["undo_restore", "--discard", "--noinput"], env=debug
    )
    undone.ended(0)
    discarded.ended(0)
    assert "later" in tables(path) and (bare.uploads / "file").read_text() == "changed\n"
    assert sorted(found.name for found in bare.folder.glob("db*")) == ["db"]
    assert len(tables(path)) > 20


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as session, session:
        session.execute(statement)


def tables(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as session:
        return {name for (name,) in session.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
