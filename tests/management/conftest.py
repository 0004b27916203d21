"""A project that was backed up once, shared by tests of commands that fail."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from demo.server import PostgresServer

from tests.management import state
from tests.management.commands import run_one
from tests.services.project import Project, create, drop

SENTINEL = "SENTINEL-7c1f"
"""Stands in a row, in a file, in a file's name and in the label of no backup."""


@dataclass(frozen=True)
class BackedUp:
    """The project, the id of its only backup, and its contents at that time."""

    project: Project
    id: str
    before: dict[str, Any]

    def assert_unchanged(self) -> None:
        """Assert that the live data is unchanged and that no staging or previous data exists."""
        assert state.differences(self.before, state.of_project(self.project)) == []
        assert state.leftovers(self.project) == []


@pytest.fixture(scope="session")
def _backed_up(postgres_18: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackedUp]:
    project = create(postgres_18, tmp_path_factory.mktemp("backed-up"))
    project.seed_small()
    project.sql("INSERT INTO content_tag (name) VALUES (%s)", f"{SENTINEL} row")
    (project.uploads / f"{SENTINEL} name").write_text(f"{SENTINEL} content " * 100)
    made = run_one(project, "backup_all", "--json").ended(0)
    yield BackedUp(project, made.json["manifest"]["id"], state.of_project(project))
    drop(project)


@pytest.fixture
def backed_up(_backed_up: BackedUp) -> Iterator[BackedUp]:
    """Return the same project for every test; each must leave it unchanged.

    Records of failed runs are removed, because they block pruning and alarm monitoring in the next test.
    The state folder is restored if a test has made another backup."""
    indexes = _backed_up.project.state / "indexes"
    saved = _backed_up.project.folder / "indexes"
    if not saved.exists():
        shutil.copytree(indexes, saved)
    yield _backed_up
    shutil.rmtree(indexes)
    shutil.copytree(saved, indexes)
    for record in _backed_up.project.storage.glob("igny8/runs/*"):
        if record.stem != _backed_up.id:
            record.unlink()
    _backed_up.assert_unchanged()
