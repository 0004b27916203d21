"""Warn of database dumps that lie in the folder of the project (W006)."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from igny8_backup.conf import Config, Problem, project_dir
from igny8_backup.operations.guards.preconditions import make_problem

_DUMP_SUFFIXES = {".sql", ".dump", ".sqlite3"}
_DUMP_HEADS = (
    b"PGDMP",
    b"SQLite format 3\0",
    b"--\n-- PostgreSQL database",
    b"-- MySQL dump",
    b"-- MariaDB dump",
    b"/*M!999999\\- enable the sandbox",
    b"/*!999999\\- enable the sandbox",
)
_SKIPPED_FOLDERS = {".git", ".igny8_backup", "node_modules", "site-packages", ".venv", "venv"}
MAX_FILES = 100_000
"""The largest number of files in the project folder that are searched for dumps."""


def problems(config: Config, folder: Path | None = None) -> list[Problem]:
    """Return W006 for each database dump in the project folder, except databases in use and ``STATE_DIR``."""
    root = folder or project_dir()
    used = {str(database.get("NAME", "")) for database in settings.DATABASES.values()}
    found = sorted(str(path) for path in _dumps(root, config.state_dir) if str(path) not in used)
    return [
        make_problem(
            "W006",
            f"A database dump lies in the project: {path}.",
            "Move it out of the project. If it was committed, remove it from the repository:"
            f" `{_git_rm(path)}`.",
        )
        for path in found
    ]


def _dumps(root: Path, state: Path) -> Iterator[Path]:
    searched, state = 0, state.resolve()
    for folder, names, files in os.walk(root):
        skipped = _SKIPPED_FOLDERS | ({state.name} if Path(folder).resolve() == state.parent else set())
        names[:] = sorted(set(names) - skipped)
        for name in files:
            searched += 1
            if searched > MAX_FILES:
                return
            path = Path(folder, name)
            if path.suffix.lower() in _DUMP_SUFFIXES and _is_dump(path):
                yield path


def _is_dump(path: Path) -> bool:
    try:
        if not path.is_file():  # opening a FIFO would wait for a writer
            return False
        with path.open("rb") as file:
            return file.read(64).startswith(_DUMP_HEADS)
    except OSError:
        return False


def _git_rm(path: str) -> str:
    """Return the command that removes ``path`` from its repository. The command works in any folder."""
    return shlex.join(["git", "-C", os.path.dirname(path), "rm", "--cached", "--", os.path.basename(path)])
