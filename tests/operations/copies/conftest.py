"""Fixtures: a storage of backups and two storages of copies, in folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage

from igny8_backup.operations.context import BackupContext, open_context
from tests.operations.clocks import Clock
from tests.operations.conftest import Notes

Opened = Callable[..., AbstractContextManager[BackupContext]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(context: BackupContext, settings: Any, tmp_path: Path, clock: Clock) -> Opened:
    """A function that opens a context with two copies, of its own storage or of a copy.

    Other keyword arguments than those of ``open_context`` change the settings of the copy ``offsite``."""
    for alias in ("offsite", "attic"):
        (tmp_path / alias).mkdir()
        settings.STORAGES = {
            **settings.STORAGES,
            alias: {
                "BACKEND": "django.core.files.storage.FileSystemStorage",
                "OPTIONS": {"location": str(tmp_path / alias)},
            },
        }

    @contextmanager
    def do(storage_alias: str = "dbbackup", copies: Any = None, **options: Any) -> Iterator[BackupContext]:
        chosen = {"offsite": {"storage": "offsite"}} if copies is None else copies
        settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "COPIES": chosen}
        with open_context(progress=Notes(), clock=clock, storage_alias=storage_alias, **options) as found:
            yield found

    return do


class BreaksOff(FileSystemStorage):
    """Refuses to store packs after a number of them."""

    left = 0

    def save(self, name: Any, content: Any, max_length: Any = None) -> str:
        if "/packs/" in name and name.endswith(".zst"):
            kind = type(self)
            if kind.left == 0:
                raise PermissionError(13, "Permission denied")
            kind.left -= 1
        return super().save(name, content, max_length)


class Meanwhile(FileSystemStorage):
    """Lets something happen each time before it stores a pack."""

    happens: Callable[[], object]

    def save(self, name: Any, content: Any, max_length: Any = None) -> str:
        if "/packs/" in name:
            type(self).happens()
        return super().save(name, content, max_length)
