"""The store for a folder after crashes, on full disks, without permissions, and on missing disks."""

from __future__ import annotations

import errno
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

from igny8_backup.common import filesystem
from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.store import MissingObjectError, Store, open_store
from igny8_backup.store.folder import durable, local
from igny8_backup.store.pieces import PIECE
from igny8_backup.store.retry import Retry
from igny8_backup.streams import BLOCK, Blocks
from igny8_backup.streams.pipeline import from_bytes
from tests.services import disk
from tests.store.sources import failing, read

NOBODY = 65534


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of one mebibyte."""
    with disk.small_disk(tmp_path / "disk", 1 << 20) as folder:
        yield folder


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user may enter; the folders of pytest are private."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


KILLED = """
import os, signal, sys
from django.conf import settings
settings.configure()
from django.core.files.storage import FileSystemStorage
from igny8_backup.store import open_store

def source():
    yield bytes(5 << 20)  # more than the store holds in memory
    os.kill(os.getpid(), signal.SIGKILL)
    yield b"never"

open_store(FileSystemStorage(location=sys.argv[1]), "igny8/").put("a/b", source())
"""


def test_put_crash_leaves_a_visible_deletable_partial_file(local_store: Store, root: Path) -> None:
    repository = Path(__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", KILLED, root], cwd=repository)
    assert killed.returncode == -signal.SIGKILL
    (left,) = local_store.list()
    assert left.key.endswith(".partial")
    assert not local_store.exists("a/b")
    local_store.put("a/b", from_bytes(b"whole"))
    local_store.delete(left.key)
    assert [stored.key for stored in local_store.list()] == ["a/b"]


def test_put_on_full_disk_names_it_and_leaves_nothing(small_disk: Path) -> None:
    store = open_store(FileSystemStorage(location=small_disk), "igny8/")
    store.put_small("a", b"small")
    with pytest.raises(StorageError, match=f"No space is left in the folder {small_disk}"):
        store.put("b", from_bytes(os.urandom(2 * BLOCK)))
    assert [stored.key for stored in store.list()] == ["a"]
    with pytest.raises(StorageError, match="No space is left"):
        store.put_small("a", os.urandom(2 * BLOCK))
    assert store.read_small("a") == b"small"


def test_put_over_file_size_limit_raises_storage_error(local_store: Store) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * BLOCK, hard))
    try:
        with pytest.raises(StorageError, match=r"File too large.*ulimit -f"):
            local_store.put("a", from_bytes(os.urandom(3 * BLOCK)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(local_store.list()) == []


def test_put_failing_after_naming_removes_the_object(local_store: Store, root: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def source() -> Blocks:
        yield b"data"
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))  # nothing more can be opened

    try:
        with pytest.raises(StorageError, match="Too many open files"):
            local_store.put("a/b", source())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [path for path in root.rglob("*") if path.is_file()] == []


class LosingDisk:
    """Replaces fsync: in some calls, it loses what was written since the last call, as a mount does."""

    def __init__(self, failing: set[int], *, shorten: bool = False) -> None:
        self._failing = failing
        self._shorten = shorten
        self._calls = self._safe = 0

    def __call__(self, descriptor: int) -> None:
        self._calls += 1
        if self._calls in self._failing:
            kept = 0 if self._shorten else self._safe
            os.truncate(descriptor, kept)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._safe = os.fstat(descriptor).st_size


def test_put_goes_on_after_a_disk_has_lost_what_was_not_yet_on_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "sync", LosingDisk({1, 3, 4, 6}))
    notes: list[str] = []
    store = open_store(
        FileSystemStorage(location=root), "igny8/", Retry(60, first_pause=0.001, report=notes.append)
    )
    data = os.urandom(2 * PIECE + 5)
    store.put("a", from_bytes(data))
    assert read(store.open("a")) == data
    assert [stored.key for stored in store.list()] == ["a"]
    assert any("Input/output error" in note for note in notes)


def test_put_to_a_file_that_became_shorter_fails_and_leaves_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "sync", LosingDisk({2}, shorten=True))
    store = open_store(FileSystemStorage(location=root), "igny8/", Retry(60, first_pause=0.001))
    with pytest.raises(IntegrityError, match="has lost bytes that were on disk already"):
        store.put("a", from_bytes(os.urandom(PIECE + 5)))
    assert list(store.list()) == []


def test_put_is_named_once_although_its_folder_cannot_be_synced_at_first(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [OSError(errno.EIO, os.strerror(errno.EIO)) for _ in range(2)]

    def failing_first(folder: Path) -> None:
        if failures:
            raise failures.pop()
        filesystem.sync_folder(folder)

    monkeypatch.setattr(local, "sync_folder", failing_first)
    store = open_store(FileSystemStorage(location=root), "igny8/", Retry(60, first_pause=0.001))
    store.put("a", from_bytes(b"data"))
    assert store.read_small("a") == b"data"
    assert [stored.key for stored in store.list()] == ["a"]


def test_missing_location_never_looks_empty(local_store: Store, root: Path) -> None:
    for call in (
        lambda: list(local_store.list()),
        lambda: local_store.list_dirs("backups"),
        lambda: local_store.exists("a"),
        lambda: local_store.read_small("a"),
        lambda: local_store.delete("a"),
    ):
        with pytest.raises(StorageError, match=f"{root} does not exist") as caught:
            call()
        assert not isinstance(caught.value, MissingObjectError)
    local_store.put("a", from_bytes(b"data"))
    assert [stored.key for stored in local_store.list()] == ["a"]


def test_list_unreadable_folder_raises(public_folder: Path) -> None:
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


def test_open_shrinking_object_raises_integrity_error(local_store: Store, root: Path) -> None:
    local_store.put("a", from_bytes(os.urandom(3 * BLOCK)))
    blocks = local_store.open("a")
    next(blocks)
    os.truncate(root / "igny8/a", BLOCK + 1)
    with pytest.raises(IntegrityError, match="shorter"):
        read(blocks)


def test_put_failing_source_leaves_no_partial_file(local_store: Store, root: Path) -> None:
    with pytest.raises(ValueError, match="died"):
        local_store.put("a/b", failing(os.urandom(BLOCK), ValueError("died")))
    assert [path for path in root.rglob("*") if path.is_file()] == []
