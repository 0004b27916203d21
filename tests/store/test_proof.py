"""Storages that accept everything, and list or return something else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core.files.base import ContentFile, File
from django.core.files.storage import InMemoryStorage, Storage

from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.store import Store, open_store
from igny8_backup.store.proof import prove_stored

KEY = "runs/20261122T021500Z-7f3a9c.json"


class StorageInMemory(InMemoryStorage):
    """Declares a method that Django's documentation tells subclasses to override; its stubs lack it."""

    if TYPE_CHECKING:

        def _open(self, name: str, mode: str = "rb") -> File[Any]: ...


class WholeKeys(InMemoryStorage):
    """Lists complete names and no folders, as django-storages' AzureStorage does."""

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        folders, files = super().listdir(path)
        below = [name for folder in folders for name in self.listdir(f"{path}/{folder}".strip("/"))[1]]
        return [], [*below, *(f"{path}/{name}".strip("/") for name in files)]


class Blind(InMemoryStorage):
    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        return [], []


class Flat(InMemoryStorage):
    """Lists the files of a folder, but no folders."""

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        return [], super().listdir(path)[1]


class Altering(StorageInMemory):
    def _open(self, name: str, mode: str = "rb") -> File[Any]:
        if mode != "rb":
            return super()._open(name, mode)
        return ContentFile(super()._open(name).read().upper(), name=name)


def written(storage: Storage) -> Store:
    store = open_store(storage, "igny8/")
    store.put_small(KEY, b"content")
    return store


@pytest.mark.parametrize("kind", [WholeKeys, Blind, Flat])
def test_prove_stored_not_listed_raises(tmp_path: Path, kind: type[InMemoryStorage]) -> None:
    store = written(kind(location=str(tmp_path)))
    with pytest.raises(StorageError, match=f"{kind.__name__}.* does not list the object that was just"):
        prove_stored(store, KEY, b"content")


def test_prove_stored_listed_with_another_size_raises(tmp_path: Path) -> None:
    store = written(InMemoryStorage(location=str(tmp_path)))
    with pytest.raises(StorageError, match="with 7 bytes instead of 8"):
        prove_stored(store, KEY, b"content!")


def test_prove_stored_returned_altered_raises(tmp_path: Path) -> None:
    store = written(Altering(location=str(tmp_path)))
    with pytest.raises(IntegrityError, match="returns other bytes than were written"):
        prove_stored(store, KEY, b"content")


def test_prove_stored_sound_storage_passes(store: Store) -> None:
    store.put_small(KEY, b"content")
    prove_stored(store, KEY, b"content")
