"""Uploads: what the manifest records of an object; an index that is encoded while it is written."""

from __future__ import annotations

import hashlib
import os
import resource
import threading
from contextlib import closing
from pathlib import Path

import pyrage
import pytest
from django.core.files.storage import FileSystemStorage

from igny8_backup.operations.upload import Upload, upload_index
from igny8_backup.store import Store, open_store
from igny8_backup.streams.age import parse_identities
from igny8_backup.streams.pipeline import Codec, decode, from_bytes

KEY = "backups/20261122T021500Z-7f3a9c/files/sites-data.index.zst.age"
IDENTITY = pyrage.x25519.Identity.generate()
CODEC = Codec(recipients=(str(IDENTITY.to_public()),))
LINES = [os.urandom(70_000).hex().encode() + b"\n" for _ in range(30)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "storage").mkdir()
    return open_store(FileSystemStorage(location=tmp_path / "storage"), "")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state" / "index"


def test_upload_index_stores_all_that_the_worker_wrote(store: Store, path: Path) -> None:
    with upload_index(Upload(store, KEY, CODEC, claimed=True), path) as index, open(path, "wb") as file:
        for number, line in enumerate(LINES):
            file.write(line)
            if number == 20:
                file.flush()
                threading.Event().wait(0.3)  # the thread encodes some of it meanwhile
        file.close()
        stored = index.finish()
    content = b"".join(LINES)
    assert (stored.key, stored.raw_bytes, stored.codecs) == (KEY, len(content), ("zstd", "age"))
    assert index.sha256 == hashlib.sha256(content).hexdigest()
    kept = store.read_small(KEY)
    assert (stored.stored_bytes, stored.sha256) == (len(kept), hashlib.sha256(kept).hexdigest())
    with closing(decode(store.open(KEY), stored.codecs, parse_identities(str(IDENTITY)))) as blocks:
        assert b"".join(blocks) == content
    assert os.listdir(path.parent) == ["index"] and path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("by_file", [False, True])
def test_upload_returns_what_the_manifest_records(store: Store, tmp_path: Path, by_file: bool) -> None:
    content = b"".join(LINES)
    upload = Upload(store, KEY, CODEC)
    if by_file:
        stored = upload.send_by_file(from_bytes(content), tmp_path)
    else:
        stored = upload.send(from_bytes(content), estimate=len(content))
    data = store.read_small(KEY)
    assert (stored.key, stored.raw_bytes, stored.codecs) == (KEY, len(content), ("zstd", "age"))
    assert (stored.stored_bytes, stored.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_upload_index_walk_fails_stores_nothing_and_ends_its_thread(store: Store, path: Path) -> None:
    threads = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt), upload_index(Upload(store, KEY, CODEC, claimed=True), path):
        path.write_bytes(LINES[0])
        raise KeyboardInterrupt
    assert set(threading.enumerate()) <= threads
    assert not list(store.list())


def test_upload_index_error_in_the_thread_is_raised_by_finish(store: Store, path: Path) -> None:
    path.write_bytes(b"".join(LINES))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with (
            pytest.raises(OSError, match="File too large"),
            upload_index(Upload(store, KEY, CODEC, claimed=True), path) as index,
        ):
            index.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not store.exists(KEY)
