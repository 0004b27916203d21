"""The contents of a project, to be compared before and after an operation."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from demo import fingerprint

from tests.services.project import Project

OURS = (repr(b".before-")[:-1], repr(b".igny8_backup-")[:-1])


def of_tree(root: Path) -> dict[str, Any]:
    """Return everything in a root except data that restores keep, and the root's own mode and time."""
    if not root.exists():
        return {}
    found = {name: what for name, what in fingerprint.of_tree(root).items() if not name.startswith(OURS)}
    about = root.stat()
    return {**found, "the root": (oct(about.st_mode), about.st_mtime_ns)}


def of_project(project: Project) -> dict[str, Any]:
    """Return everything live: rows, sequences and objects of the database, and files of the trees."""
    with project.server.connect(project.database) as connection:
        found = fingerprint.of_database(connection)
    for root in (project.sites, project.uploads, project.logs):
        found |= {f"{root.name}/{name}": what for name, what in of_tree(root).items()}
    return found


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return one line for each difference."""
    return fingerprint.differences(before, after)


def leftovers(project: Project) -> list[str]:
    """Return what a restore creates and should have removed: databases, folders, scratch and journals."""
    found = [name for name in project.databases() if name != project.database]
    for root in (project.sites, project.uploads, project.logs):
        found += [
            str(root / name) for name in os.listdir(root) if name.startswith((".before-", ".igny8_backup-"))
        ]
    found += [str(path) for path in project.scratch.iterdir()]
    journals = project.state / "restores"
    return found + ([str(path) for path in journals.iterdir()] if journals.exists() else [])


def modes(folder: Path) -> set[str]:
    """Return the kinds and permissions of everything below the folder, such as ``file 600``."""
    found = set()
    for path in folder.rglob("*"):
        status = path.lstat()
        kind = "folder" if stat.S_ISDIR(status.st_mode) else "file"
        found.add(f"{kind} {stat.S_IMODE(status.st_mode):o}")
    return found


def objects(project: Project, suffix: str = "") -> list[Path]:
    """Return the files in the storage folder whose names end with the suffix."""
    return sorted(
        path for path in project.storage.rglob("*") if path.is_file() and path.name.endswith(suffix)
    )


def manifests(project: Project) -> list[Path]:
    return objects(project, "manifest.json")
