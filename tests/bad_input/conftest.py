"""Fixture: a project with one backup, shared by the tests of a module, none of which may change it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from demo.server import PostgresServer

from tests.management.commands import run_many
from tests.services.project import Project, create, drop


@dataclass(frozen=True)
class Ground:
    """The project and the id of its one backup."""

    project: Project
    id: str

    @property
    def identity(self) -> list[str]:
        return ["--identity", str(self.project.identity)]

    @property
    def restore(self) -> list[str]:
        """The command of a restore without confirmation and migrations, still without an identity."""
        return ["restore_all", "--noinput", "--no-migrate", "--database-name", self.project.database]


@pytest.fixture(scope="module")
def ground(postgres_18: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    project = create(postgres_18, tmp_path_factory.mktemp("ground"))
    project.seed_small()
    (made,) = run_many(project, ["backup_all", "--json"])
    yield Ground(project, made.ended(0).json["manifest"]["id"])
    drop(project)
