"""The store for a folder: permissions, atomic writes and symbolic links."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.core.files.storage import FileSystemStorage

from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.store import MissingObjectError, Store, open_store
from igny8_backup.store.folder.durable import give_name, give_name_without_links
from igny8_backup.store.folder.local import LocalStore
from igny8_backup.store.pieces import PIECE
from igny8_backup.streams import Blocks
from igny8_backup.streams.pipeline import from_bytes


def mode(path: Path) -> int:
    return path.lstat().st_mode & 0o7777


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def test_put_large_object_flushed_in_pieces_is_complete(local_store: Store) -> None:
    data = os.urandom(2 * PIECE + 12_345)
    local_store.put("packs/a", from_bytes(data))
    assert b"".join(local_store.open("packs/a")) == data


def test_put_files_and_new_folders_are_private(local_store: Store, root: Path, open_umask: None) -> None:
    local_store.put("backups/a/db/x", from_bytes(b"data"))
    local_store.put_small("runs/a.json", b"{}")
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(folders) == 6
    assert len(files) == 2
    assert {mode(path) for path in folders} == {0o700}
    assert {mode(path) for path in files} == {0o600}


def test_put_keeps_mode_of_existing_folders(local_store: Store, root: Path) -> None:
    root.mkdir(mode=0o750)
    local_store.put("a", from_bytes(b"data"))
    assert mode(root) == 0o750


def test_put_shows_only_a_partial_file_while_writing(local_store: Store) -> None:
    seen: list[str] = []

    def watching() -> Blocks:
        yield bytes(5 << 20)  # more than the store holds in memory
        seen.extend(stored.key for stored in local_store.list())
        yield b"other half"

    local_store.put("backups/a/x", watching())
    (partial,) = seen
    assert partial.startswith("backups/a/x.")
    assert partial.endswith(".partial")
    assert [stored.key for stored in local_store.list()] == ["backups/a/x"]


def test_put_key_taken_during_upload_keeps_the_object(local_store: Store) -> None:
    def racing() -> Blocks:
        yield b"mine"
        local_store.put_small("a", b"theirs")
        yield b"mine too"

    with pytest.raises(StorageError, match="already"):
        local_store.put("a", racing())
    assert [stored.key for stored in local_store.list()] == ["a"]
    assert local_store.read_small("a") == b"theirs"


def test_delete_last_object_removes_empty_folders(local_store: Store, root: Path) -> None:
    local_store.put("backups/a/db/x", from_bytes(b"data"))
    local_store.put("backups/b", from_bytes(b"data"))
    local_store.delete("backups/a/db/x")
    assert sorted(path.name for path in root.rglob("*")) == ["b", "backups", "igny8"]
    local_store.delete("backups/b")
    assert sorted(path.name for path in root.rglob("*")) == ["igny8"]


def test_links_out_of_the_location_raise(local_store: Store, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (root / "igny8").mkdir(parents=True)
    (root / "igny8/packs").symlink_to(outside)
    for call in (
        lambda: local_store.read_small("packs/secret"),
        lambda: local_store.put("packs/new", from_bytes(b"data")),
        lambda: local_store.put_small("packs/secret", b"data"),
        lambda: local_store.delete("packs/secret"),
        lambda: list(local_store.list("packs")),
    ):
        with pytest.raises(StorageError, match=f"leads .* out of {root}"):
            call()
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"


def test_links_are_listed_but_not_followed_or_replaced(
    local_store: Store, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "igny8/here").mkdir(parents=True)
    (root / "igny8/object").symlink_to(tmp_path / "secret")
    (root / "igny8/loop").symlink_to(root)
    assert [stored.key for stored in local_store.list()] == ["loop", "object"]
    assert local_store.list_dirs() == []
    with pytest.raises(IntegrityError, match="is a symbolic link"):
        local_store.read_small("object")
    with pytest.raises(StorageError, match="already"):
        local_store.put("object", from_bytes(b"data"))
    local_store.delete("object")
    assert (tmp_path / "secret").read_bytes() == b"secret"


def test_location_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    root.symlink_to(tmp_path / "disk")
    by_link, by_path = (open_store(FileSystemStorage(location=at), "") for at in (root, tmp_path / "disk"))
    by_link.put("a/b", from_bytes(b"data"))
    assert by_path.read_small("a/b") == b"data"
    assert by_link.identity() == by_path.identity() == f"file://{tmp_path}/disk/"


def test_folder_is_no_object(local_store: Store) -> None:
    local_store.put("a/b", from_bytes(b"data"))
    assert not local_store.exists("a")
    with pytest.raises(MissingObjectError):
        local_store.read_small("a")


def test_file_in_place_of_a_folder_raises(local_store: Store) -> None:
    local_store.put("a", from_bytes(b"data"))
    with pytest.raises(StorageError, match="Cannot write"):
        local_store.put("a/b", from_bytes(b"data"))
    assert not local_store.exists("a/b")
    assert local_store.read_small("a") == b"data"


@pytest.mark.parametrize("name", [give_name, give_name_without_links])
def test_give_name_to_existing_name_raises(tmp_path: Path, name: object) -> None:
    first, second, final = tmp_path / "first", tmp_path / "second", tmp_path / "final"
    first.write_bytes(b"first")
    second.write_bytes(b"second")
    assert callable(name)
    name(first, final)
    with pytest.raises(FileExistsError):
        name(second, final)
    assert final.read_bytes() == b"first"
    assert second.read_bytes() == b"second"


def test_identity_and_description_name_the_folder(local_store: Store, root: Path) -> None:
    assert isinstance(local_store, LocalStore)
    assert local_store.local_path() == root / "igny8"
    assert local_store.describe() == f"the folder {root}/igny8"
    assert local_store.identity() == f"file://{root}/igny8/"


def test_put_small_while_another_run_empties_the_folder_succeeds(tmp_path: Path) -> None:
    """Removing the last object of a folder removes the folder, at any moment between the steps of a write."""
    stop = threading.Event()

    def empty() -> None:
        with open_store(FileSystemStorage(location=tmp_path), "igny8/") as other:
            while not stop.is_set():
                other.put_small("locks/other", b"other")
                other.delete("locks/other")

    with ThreadPoolExecutor(1) as pool, open_store(FileSystemStorage(location=tmp_path), "igny8/") as store:
        emptying = pool.submit(empty)
        try:
            for number in range(200):
                store.put_small("locks/own", str(number).encode())
                assert store.read_small("locks/own") == str(number).encode()
                store.delete("locks/own")
        finally:
            stop.set()
        emptying.result()
