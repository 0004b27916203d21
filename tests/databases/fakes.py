"""Fake client programs."""

from __future__ import annotations

from pathlib import Path


def fake(folder: Path, program: str, script: str, *, version: str = "18.1") -> Path:
    """Create a shell script ``program`` that answers ``--version`` and otherwise runs ``script``."""
    folder.mkdir(exist_ok=True)
    path = folder / program
    answer = f'[ "$1" = --version ] && echo "{program} (PostgreSQL) {version} (Fake 1)" && exit 0'
    path.write_text(f"#!/bin/sh\n{answer}\n{script}\n")
    path.chmod(0o755)
    return path


def link(folder: Path, program: Path) -> None:
    """Link the real ``program`` into ``folder``."""
    folder.mkdir(exist_ok=True)
    (folder / program.name).symlink_to(program)
