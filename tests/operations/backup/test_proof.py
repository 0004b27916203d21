"""A storage that does not list what was written: the run fails before it reads a database or a tree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from django.core.files.storage import InMemoryStorage

from igny8_backup.errors import StorageError
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.store import open_store


class FlatStorage(InMemoryStorage):
    """Lists complete names and no folders, as django-storages' AzureStorage does."""

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        folders, files = super().listdir(path)
        below = [name for folder in folders for name in self.listdir(f"{path}/{folder}".strip("/"))[1]]
        return [], [*below, *(f"{path}/{name}".strip("/") for name in files)]


def test_backup_to_storage_that_lists_nothing_fails_at_once(context: BackupContext, tmp_path: Path) -> None:
    storage = FlatStorage(location=str(tmp_path / "flat"))
    blind = replace(context, store=open_store(storage, "igny8/"))
    with pytest.raises(StorageError, match="does not list the object that was just written") as caught:
        run_backup(blind, BackupRequest(trees=("sites",)))
    assert caught.value.parts[1] == "No backup was recorded."
    folders, (record,) = InMemoryStorage.listdir(storage, "igny8/runs")
    assert folders == [] and record.endswith(".json")
    assert InMemoryStorage.listdir(storage, "igny8")[0] == ["runs"]
