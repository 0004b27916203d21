"""Storages without a driver: their faults are detected, and no object is left behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, InMemoryStorage, Storage

from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.store import Store, open_store
from igny8_backup.store.generic import GenericStore
from igny8_backup.streams import BLOCK
from igny8_backup.streams.pipeline import from_bytes
from tests.store.sources import failing


class StorageInMemory(InMemoryStorage):
    """Declares the methods that Django's documentation tells subclasses to override; its stubs lack them."""

    if TYPE_CHECKING:

        def _save(self, name: str, content: File[Any]) -> str: ...
        def _open(self, name: str, mode: str = "rb") -> File[Any]: ...


class Renaming(InMemoryStorage):
    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return f"{name}.renamed"


class Swallowing(StorageInMemory):
    def _save(self, name: str, content: File[Any]) -> str:
        try:
            return super()._save(name, content)
        except Exception:
            return name


class Wrapping(StorageInMemory):
    def _save(self, name: str, content: File[Any]) -> str:
        try:
            return super()._save(name, content)
        except Exception as error:
            raise RuntimeError("upload of https://user:hunter2@host failed") from error


class Impatient(StorageInMemory):
    def _save(self, name: str, content: File[Any]) -> str:
        with self._open(name, "wb") as file:
            file.write(content.read(BLOCK))
        return name


class Forgetful(StorageInMemory):
    """A storage that stores all but the last byte."""

    def _save(self, name: str, content: File[Any]) -> str:
        data = content.read()
        with self._open(name, "wb") as file:
            file.write(data[:-1])
        return name


class Truncating(InMemoryStorage):
    """A storage that reports more bytes than it returns."""

    lying = False

    def size(self, name: str) -> int:
        return int(super().size(name)) + self.lying


class Timeless(InMemoryStorage):
    def get_modified_time(self, name: str) -> Any:
        raise NotImplementedError


class Files(FileSystemStorage):
    """A subclass of Django's storage, which is used through Django's API."""


class Raced(Files):
    """A storage in which another process writes the name right after the check."""

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        path = Path(self.path(name))
        path.parent.mkdir()
        path.write_bytes(b"theirs")
        return super().get_available_name(name, max_length)


class Ftp(Storage):
    location = "ftp://user:hunter2@backup.example:21/srv/"  # as django-storages' FTPStorage keeps it


def listed(store: Store) -> list[str]:
    return [stored.key for stored in store.list()]


def test_put_to_renaming_storage_raises(tmp_path: Path) -> None:
    store = open_store(Renaming(location=tmp_path), "igny8/")
    with pytest.raises(StorageError, match="renames objects"):
        store.put("a", from_bytes(b"data"))
    with pytest.raises(StorageError, match="renames objects"):
        store.put_small("a", b"data")
    assert listed(store) == []


def test_put_key_taken_during_upload_keeps_the_object(tmp_path: Path) -> None:
    store = open_store(Raced(location=tmp_path), "igny8/")
    with pytest.raises(StorageError, match="renames objects"):
        store.put("a", from_bytes(b"mine"))
    assert listed(store) == ["a"]
    assert store.read_small("a") == b"theirs"


@pytest.mark.parametrize("kind", [Swallowing, Wrapping])
def test_put_source_error_wins_over_error_of_the_storage(tmp_path: Path, kind: type[InMemoryStorage]) -> None:
    store = open_store(kind(location=tmp_path), "igny8/")
    error = ValueError("pg_dump died")
    with pytest.raises(ValueError, match="pg_dump died") as caught:
        store.put("a", failing(b"some", error))
    assert caught.value is error
    assert listed(store) == []


def test_put_to_storage_that_stops_reading_raises(tmp_path: Path) -> None:
    store = open_store(Impatient(location=tmp_path), "igny8/")
    with pytest.raises(StorageError, match="stopped reading"):
        store.put("a", from_bytes(os.urandom(2 * BLOCK)))
    assert listed(store) == []


def test_put_with_missing_bytes_raises_integrity_error(tmp_path: Path) -> None:
    store = open_store(Forgetful(location=tmp_path), "igny8/")
    with pytest.raises(IntegrityError, match="has stored 3 bytes"):
        store.put("a", from_bytes(b"data"))
    assert listed(store) == []


def test_open_short_object_raises_integrity_error(tmp_path: Path) -> None:
    storage = Truncating(location=tmp_path)
    store = open_store(storage, "igny8/")
    store.put("a", from_bytes(b"data"))
    storage.lying = True
    with pytest.raises(IntegrityError, match="returned 4 of the 5 bytes"):
        store.read_small("a")


def test_storage_failure_is_reported_without_its_text(tmp_path: Path) -> None:
    class Broken(InMemoryStorage):
        def _save(self, name: str, content: File[Any]) -> str:
            raise RuntimeError("https://user:hunter2@host said no")

    with pytest.raises(StorageError, match=r"Cannot write Broken, under igny8/: RuntimeError") as caught:
        open_store(Broken(location=tmp_path), "igny8/").put("a", from_bytes(b"data"))
    assert "hunter2" not in str(caught.value)


def test_missing_location_never_looks_empty(tmp_path: Path) -> None:
    store = open_store(Files(location=tmp_path / "unmounted"), "igny8/")
    for call in (
        lambda: list(store.list()),
        lambda: store.list_dirs("backups"),
        lambda: store.exists("a"),
        lambda: store.read_small("a"),
    ):
        with pytest.raises(StorageError, match="No such file or directory"):
            call()


def test_list_without_modification_times_works(tmp_path: Path) -> None:
    store = open_store(Timeless(location=tmp_path), "")
    store.put("a", from_bytes(b"data"))
    assert [stored.modified for stored in store.list()] == [None]


def test_identity_and_description_contain_no_password() -> None:
    store = open_store(Ftp(), "igny8/")
    assert store.identity() == f"{__name__}.Ftp:ftp://backup.example:21/srv/igny8/"
    assert store.describe() == "Ftp, under igny8/"


def test_local_path_is_set_for_files_only(tmp_path: Path) -> None:
    assert open_store(Files(location=tmp_path), "igny8/").local_path() == tmp_path / "igny8"
    assert open_store(InMemoryStorage(location=tmp_path), "igny8/").local_path() is None
    assert isinstance(open_store(Files(location=tmp_path), "igny8/"), GenericStore)
