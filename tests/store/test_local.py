"""A folder: private, written whole or not at all, never left through a link."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.files.storage import FileSystemStorage

from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.store import MissingObjectError, Store, open_store
from igny8_backup.store.durable import give_name, give_name_without_links
from igny8_backup.store.local import LocalStore
from igny8_backup.streams import BLOCK, Blocks
from igny8_backup.streams.pipeline import from_bytes
from tests.store.sources import failing, read

NOBODY = 65534


def mode(path: Path) -> int:
    return path.lstat().st_mode & 0o7777


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The storage's location; it does not exist yet."""
    return tmp_path / "storage"


@pytest.fixture
def store(root: Path) -> Store:
    return open_store(FileSystemStorage(location=root), "igny8/")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("Mounting a small filesystem takes root and the right to mount.")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user may look into; those of tests belong to their user alone."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def test_files_and_new_folders_are_private_whatever_the_umask(
    store: Store, root: Path, open_umask: None
) -> None:
    store.put("backups/a/db/x", from_bytes(b"data"))
    store.put_small("runs/a.json", b"{}")
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(folders) == 6
    assert len(files) == 2
    assert {mode(path) for path in folders} == {0o700}
    assert {mode(path) for path in files} == {0o600}


def test_folders_that_were_there_keep_their_mode(store: Store, root: Path) -> None:
    root.mkdir(mode=0o750)
    store.put("a", from_bytes(b"data"))
    assert mode(root) == 0o750


def test_while_it_is_written_only_a_partial_file_shows(store: Store) -> None:
    seen: list[str] = []

    def watching() -> Blocks:
        yield b"half"
        seen.extend(stored.key for stored in store.list())
        yield b"other half"

    store.put("backups/a/x", watching())
    (partial,) = seen
    assert partial.startswith("backups/a/x.")
    assert partial.endswith(".partial")
    assert [stored.key for stored in store.list()] == ["backups/a/x"]


def test_a_key_taken_while_it_is_written_is_left_alone(store: Store) -> None:
    def racing() -> Blocks:
        yield b"mine"
        store.put_small("a", b"theirs")
        yield b"mine too"

    with pytest.raises(StorageError, match="already"):
        store.put("a", racing())
    assert [stored.key for stored in store.list()] == ["a"]
    assert store.read_small("a") == b"theirs"


KILLED = """
import os, signal, sys
from django.conf import settings
settings.configure()
from django.core.files.storage import FileSystemStorage
from igny8_backup.store import open_store

def source():
    yield b"half"
    os.kill(os.getpid(), signal.SIGKILL)
    yield b"never"

open_store(FileSystemStorage(location=sys.argv[1]), "igny8/").put("a/b", source())
"""


def test_a_crash_leaves_a_partial_file_that_can_be_seen_and_deleted(store: Store, root: Path) -> None:
    repository = Path(__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", KILLED, root], cwd=repository)
    assert killed.returncode == -signal.SIGKILL
    (left,) = store.list()
    assert left.key.endswith(".partial")
    assert not store.exists("a/b")
    store.put("a/b", from_bytes(b"whole"))
    store.delete(left.key)
    assert [stored.key for stored in store.list()] == ["a/b"]


def test_a_full_disk_is_named_and_leaves_nothing(small_disk: Path) -> None:
    store = open_store(FileSystemStorage(location=small_disk), "igny8/")
    store.put_small("a", b"small")
    with pytest.raises(StorageError, match=f"No space is left in the folder {small_disk}"):
        store.put("b", from_bytes(os.urandom(2 * BLOCK)))
    assert [stored.key for stored in store.list()] == ["a"]
    with pytest.raises(StorageError, match="No space is left"):
        store.put_small("a", os.urandom(2 * BLOCK))
    assert store.read_small("a") == b"small"


def test_a_limit_on_file_size_is_an_error_in_plain_words(store: Store) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * BLOCK, hard))
    try:
        with pytest.raises(StorageError, match=r"File too large.*ulimit -f"):
            store.put("a", from_bytes(os.urandom(3 * BLOCK)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(store.list()) == []


def test_a_failure_after_the_naming_takes_the_object_back(store: Store, root: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def source() -> Blocks:
        yield b"data"
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))  # nothing more can be opened

    try:
        with pytest.raises(StorageError, match="Too many open files"):
            store.put("a/b", source())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [path for path in root.rglob("*") if path.is_file()] == []


def test_empty_folders_go_with_their_last_object(store: Store, root: Path) -> None:
    store.put("backups/a/db/x", from_bytes(b"data"))
    store.put("backups/b", from_bytes(b"data"))
    store.delete("backups/a/db/x")
    assert sorted(path.name for path in root.rglob("*")) == ["b", "backups", "igny8"]
    store.delete("backups/b")
    assert sorted(path.name for path in root.rglob("*")) == ["igny8"]


def test_a_location_that_does_not_exist_never_looks_empty(store: Store, root: Path) -> None:
    for call in (
        lambda: list(store.list()),
        lambda: store.list_dirs("backups"),
        lambda: store.exists("a"),
        lambda: store.read_small("a"),
        lambda: store.delete("a"),
    ):
        with pytest.raises(StorageError, match=f"{root} does not exist") as caught:
            call()
        assert not isinstance(caught.value, MissingObjectError)
    store.put("a", from_bytes(b"data"))
    assert [stored.key for stored in store.list()] == ["a"]


def test_no_link_leads_out_of_the_location(store: Store, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (root / "igny8").mkdir(parents=True)
    (root / "igny8/packs").symlink_to(outside)
    for call in (
        lambda: store.read_small("packs/secret"),
        lambda: store.put("packs/new", from_bytes(b"data")),
        lambda: store.put_small("packs/secret", b"data"),
        lambda: store.delete("packs/secret"),
        lambda: list(store.list("packs")),
    ):
        with pytest.raises(StorageError, match=f"leads .* out of {root}"):
            call()
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"


def test_a_link_is_listed_and_neither_followed_nor_replaced(store: Store, root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "igny8/here").mkdir(parents=True)
    (root / "igny8/object").symlink_to(tmp_path / "secret")
    (root / "igny8/loop").symlink_to(root)
    assert [stored.key for stored in store.list()] == ["loop", "object"]
    assert store.list_dirs() == []
    with pytest.raises(StorageError, match="symbolic links"):
        store.read_small("object")
    with pytest.raises(StorageError, match="already"):
        store.put("object", from_bytes(b"data"))
    store.delete("object")
    assert (tmp_path / "secret").read_bytes() == b"secret"


def test_the_location_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    root.symlink_to(tmp_path / "disk")
    by_link, by_path = (open_store(FileSystemStorage(location=at), "") for at in (root, tmp_path / "disk"))
    by_link.put("a/b", from_bytes(b"data"))
    assert by_path.read_small("a/b") == b"data"
    assert by_link.identity() == by_path.identity() == f"file://{tmp_path}/disk/"


def test_an_object_that_shrinks_while_it_is_read_is_an_integrity_error(store: Store, root: Path) -> None:
    store.put("a", from_bytes(os.urandom(3 * BLOCK)))
    blocks = store.open("a")
    next(blocks)
    os.truncate(root / "igny8/a", BLOCK + 1)
    with pytest.raises(IntegrityError, match="shorter"):
        read(blocks)


def test_a_folder_is_no_object(store: Store) -> None:
    store.put("a/b", from_bytes(b"data"))
    assert not store.exists("a")
    with pytest.raises(MissingObjectError):
        store.read_small("a")


def test_a_file_in_the_place_of_a_folder_is_an_error(store: Store) -> None:
    store.put("a", from_bytes(b"data"))
    with pytest.raises(StorageError, match="Cannot write"):
        store.put("a/b", from_bytes(b"data"))
    assert not store.exists("a/b")
    assert store.read_small("a") == b"data"


def test_a_folder_that_may_not_be_read_is_an_error(public_folder: Path) -> None:
    store = open_store(FileSystemStorage(location=public_folder), "igny8/")
    store.put("a/b", from_bytes(b"data"))
    user = os.geteuid()
    if user == 0:  # to whom nothing is forbidden
        os.seteuid(NOBODY)
    else:
        (public_folder / "igny8").chmod(0)
    try:
        with pytest.raises(StorageError, match="may not list"):
            list(store.list())
        with pytest.raises(StorageError, match="may not write"):
            store.put("c", from_bytes(b"data"))
        with pytest.raises(StorageError, match="may not read"):
            store.exists("a/b")
    finally:
        os.seteuid(user)
        (public_folder / "igny8").chmod(0o700)


@pytest.mark.parametrize("name", [give_name, give_name_without_links])
def test_a_name_is_given_once_only(tmp_path: Path, name: object) -> None:
    first, second, final = tmp_path / "first", tmp_path / "second", tmp_path / "final"
    first.write_bytes(b"first")
    second.write_bytes(b"second")
    assert callable(name)
    name(first, final)
    with pytest.raises(FileExistsError):
        name(second, final)
    assert final.read_bytes() == b"first"
    assert second.read_bytes() == b"second"


def test_it_tells_where_it_is(store: Store, root: Path) -> None:
    assert isinstance(store, LocalStore)
    assert store.local_path() == root / "igny8"
    assert store.describe() == f"the folder {root}/igny8"
    assert store.identity() == f"file://{root}/igny8/"


def test_a_failed_source_leaves_no_partial_file(store: Store, root: Path) -> None:
    with pytest.raises(ValueError, match="died"):
        store.put("a/b", failing(os.urandom(BLOCK), ValueError("died")))
    assert [path for path in root.rglob("*") if path.is_file()] == []
