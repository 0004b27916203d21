"""An index encoded while it is written: whole in storage, or not there at all."""

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

from igny8_backup.operations.upload import encoded_in_thread
from igny8_backup.store import Store, open_store
from igny8_backup.streams.age import parse_identities
from igny8_backup.streams.pipeline import Codec, decode

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


def test_what_is_stored_is_the_whole_index(store: Store, path: Path) -> None:
    with encoded_in_thread(path, CODEC) as index, open(path, "wb") as file:
        for number, line in enumerate(LINES):
            file.write(line)
            if number == 20:
                file.flush()
                threading.Event().wait(0.3)  # while it writes, some is encoded
        file.close()
        stored = index.store(store, KEY)
    whole = b"".join(LINES)
    assert (stored.key, stored.raw_bytes, stored.codecs) == (KEY, len(whole), ("zstd", "age"))
    assert index.sha256 == hashlib.sha256(whole).hexdigest()
    kept = store.read_small(KEY)
    assert (stored.stored_bytes, stored.sha256) == (len(kept), hashlib.sha256(kept).hexdigest())
    with closing(decode(store.open(KEY), stored.codecs, parse_identities(str(IDENTITY)))) as blocks:
        assert b"".join(blocks) == whole
    assert os.listdir(path.parent) == ["index"] and path.stat().st_mode & 0o777 == 0o600


def test_a_walk_that_fails_stores_nothing_and_leaves_no_thread(store: Store, path: Path) -> None:
    threads = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt), encoded_in_thread(path, CODEC):
        path.write_bytes(LINES[0])
        raise KeyboardInterrupt
    assert set(threading.enumerate()) <= threads
    assert not list(store.list())


def test_what_goes_wrong_in_the_thread_is_raised_where_the_index_is_wanted(store: Store, path: Path) -> None:
    path.write_bytes(b"".join(LINES))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"), encoded_in_thread(path, CODEC) as index:
            index.store(store, KEY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not store.exists(KEY)
