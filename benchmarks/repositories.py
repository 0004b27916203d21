"""Peers that keep a repository of their own: restic and borg."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.measure import Argv, Pipeline, run
from benchmarks.project import Project


class Restic:
    """A repository of restic's in the project's folder, with a password and a cache of its own."""

    def __init__(self, project: Project, root: Path) -> None:
        self.repository = project.folder / "restic"
        self._cache = project.folder / "restic-cache"
        self._folder = project.folder
        self.env = project.environment | {"RESTIC_PASSWORD": "of no use elsewhere"}

    def argv(self, *words: str | Path, at: Path | None = None) -> Argv:
        """The argv of a restic command, run from the folder ``at``."""
        restic = ("restic", "--repo", self.repository, "--cache-dir", self._cache, *words)
        return ("env", "-C", at, *restic) if at else restic

    def fresh(self) -> None:
        """An empty repository, ready."""
        shutil.rmtree(self.repository, ignore_errors=True)
        shutil.rmtree(self._cache, ignore_errors=True)
        run(self.argv("init"), env=self.env, cwd=self._folder)


class Borg:
    """A repository of borg's, likewise."""

    def __init__(self, project: Project, root: Path) -> None:
        self.repository = project.folder / "borg"
        self._base = project.folder / "borg-base"
        self._folder = project.folder
        self._root = root
        self.env = project.environment | {
            "BORG_PASSPHRASE": "of no use elsewhere",
            "BORG_BASE_DIR": str(self._base),
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        }
        self.dump: Argv = ("borg", "export-tar", f"{self.repository}::one", "-")

    def backup(self) -> Pipeline:
        words = ("borg", "create", "--compression", "zstd,3", f"{self.repository}::one", ".")
        return [("env", "-C", self._root, *words)]

    def fresh(self) -> None:
        """An empty repository, ready."""
        shutil.rmtree(self.repository, ignore_errors=True)
        shutil.rmtree(self._base, ignore_errors=True)
        init: Argv = ("borg", "init", "--encryption=repokey-blake2", self.repository)
        run(init, env=self.env, cwd=self._folder)
