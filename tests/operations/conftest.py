"""Fixtures: a context with folders only, in this process; an application that has been backed up once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from demo.server import PostgresServer

from igny8_backup.celery import control
from igny8_backup.operations.context import BackupContext, open_context
from tests.management import state
from tests.management.commands import run_many
from tests.operations.sandbox.small import SmallProject
from tests.operations.signed import Keys
from tests.services.project import Project, create, drop


class Notes:
    """A progress that keeps the notes."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def begin(self, what: str, total: int | None, count: int | None = None, unit: str = "files") -> None: ...

    def advance(self, amount: int, count: int = 0) -> None: ...

    def end(self) -> None: ...

    def note(self, text: str) -> None:
        self.texts.append(text)


@pytest.fixture(autouse=True)
def _no_wait_for_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, no worker answers, so there is nothing to wait for."""
    monkeypatch.setattr(control, "ANSWER_SECONDS", 0.01)


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """Two trees with a few files."""
    roots = tmp_path / "sites", tmp_path / "uploads"
    for root in roots:
        for name in ("a", "b", "c"):
            (root / name).mkdir(parents=True)
            (root / name / "page").write_text(f"{root.name} {name} as it was\n")
    return roots


@pytest.fixture
def context(settings: Any, tmp_path: Path, trees: tuple[Path, Path]) -> Iterator[BackupContext]:
    """A context for these trees without a database; backups are stored unencrypted in a folder."""
    sites, uploads = trees
    settings.STORAGES = {
        **settings.STORAGES,
        "dbbackup": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(tmp_path / "storage")},
        },
    }
    settings.MEDIA_ROOT = ""
    settings.IGNY8_BACKUP = {
        "DATABASES": [],
        "SITES": {"sites": sites, "uploads": uploads},
        "STATE_DIR": tmp_path / "state",
        "SCRATCH_DIR": tmp_path,
        "ENCRYPTION": None,
        "HOST": "web-1",
    }
    with open_context(progress=Notes()) as found:
        yield found


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
def host(context: BackupContext, settings: Any, keys: Keys) -> Any:
    """A function that opens a context that signs with a key and trusts others."""

    @contextmanager
    def opened(signs: str = "", trusts: Any = (), **options: Any) -> Iterator[BackupContext]:
        changes: dict[str, Any] = {
            "TRUSTED": [keys.line(one) if isinstance(one, str) else one for one in trusts],
            "SIGNING": {"KEY_FILE": keys.file(signs)} if signs else {},
        }
        settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, **changes}
        with open_context(**options) as found:
            yield found

    return opened


@dataclass(frozen=True)
class Saved:
    """A project, the id of its only backup, which includes the logs, and the state of the project then."""

    project: Project
    id: str
    before: dict[str, Any]

    @property
    def restore(self) -> list[str]:
        """The command that restores the backup without asking."""
        named = ["--database-name", self.project.database]
        return ["restore_all", "--noinput", *named, "--identity", str(self.project.identity)]

    def assert_restored(self) -> None:
        assert state.differences(self.before, state.of_project(self.project)) == []


@pytest.fixture(scope="session")
def _saved(postgres_18: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saved]:
    project = create(postgres_18, tmp_path_factory.mktemp("saved"))
    project.seed_small()
    (made,) = run_many(project, ["backup_all", "--logs", "--json"])
    yield Saved(project, made.ended(0).json["manifest"]["id"], state.of_project(project))
    drop(project)


@pytest.fixture
def saved(_saved: Saved) -> Iterator[Saved]:
    """The same backup for every test. A test may change live data, but must leave nothing beside it."""
    yield _saved
    assert state.leftovers(_saved.project) == []


@pytest.fixture
def small(postgres_18: PostgresServer, tmp_path: Path) -> Iterator[SmallProject]:
    """A small project with a program of its own and an empty database."""
    made = SmallProject(postgres_18, tmp_path)
    yield made
    made.drop()
