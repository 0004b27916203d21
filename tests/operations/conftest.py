"""Fixtures for the operations: a toolkit over folders alone, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.operations.assembly import Toolkit, assemble


class Notes:
    """A progress that keeps what it is told, and may run something at each step."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def begin(self, what: str, total: int | None) -> None: ...

    def advance(self, amount: int) -> None: ...

    def end(self) -> None: ...

    def note(self, text: str) -> None:
        self.texts.append(text)


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
def kit(settings: Any, tmp_path: Path, trees: tuple[Path, Path]) -> Iterator[Toolkit]:
    """The toolkit for these trees, no database, stored in the clear in a folder."""
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
    with assemble(progress=Notes()) as found:
        yield found
