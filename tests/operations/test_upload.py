"""Uploads: what the manifest records of an object, and a disk that is full on the way."""

from __future__ import annotations

import hashlib
import os
import resource
from pathlib import Path

import pyrage
import pytest
from django.core.files.storage import FileSystemStorage

from igny8_backup.operations.upload import Upload
from igny8_backup.store import Store, open_store
from igny8_backup.streams.pipeline import Codec, from_bytes

KEY = "backups/20261122T021500Z-7f3a9c/files/sites-data.index.zst.age"
IDENTITY = pyrage.x25519.Identity.generate()
CODEC = Codec(recipients=(str(IDENTITY.to_public()),))
LINES = [os.urandom(70_000).hex().encode() + b"\n" for _ in range(30)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "storage").mkdir()
    return open_store(FileSystemStorage(location=tmp_path / "storage"), "")


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


def test_upload_by_file_disk_full_stores_nothing(store: Store, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            Upload(store, KEY, CODEC, claimed=True).send_by_file(from_bytes(b"".join(LINES)), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not store.exists(KEY)
