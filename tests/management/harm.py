"""Ways in which a stored file can be damaged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.services.project import Project


def altered(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def packs_to_rewrite(path: Path) -> None:
    path.write_bytes(b"")


def extended(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def missing(path: Path) -> None:
    path.unlink()


HARM: list[Callable[[Path], None]] = [altered, truncated, packs_to_rewrite, extended, missing]


def damaged(project: Project, tmp_path: Path, pattern: str, harm: Callable[[Path], None]) -> Path:
    """Copy the storage and damage the objects that match the pattern."""
    storage = tmp_path / f"{harm.__name__}-{pattern.replace('/', '-').replace('*', '')}"
    shutil.copytree(project.storage, storage)
    found = list((storage / "igny8").glob(pattern))
    assert found
    for path in found:
        harm(path)
    return storage
