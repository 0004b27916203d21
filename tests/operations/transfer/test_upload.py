"""Uploads: what the manifest records of an object, and a disk that is full on the way."""

from __future__ import annotations

import hashlib
import os
import resource
from pathlib import Path
from typing import Any

import pyrage
import pytest
from django.core.files.storage import FileSystemStorage

from igny8_backup.operations.context import BackupContext, open_context
from igny8_backup.operations.transfer.upload import Upload
from igny8_backup.store import Store, open_store
from igny8_backup.streams.age import parse_identities
from igny8_backup.streams.pipeline import Codec, decode, from_bytes
from igny8_backup.streams.rate import RateLimit

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


def test_upload_at_once_returns_the_same_and_can_be_decoded(store: Store) -> None:
    content = b"".join(LINES)
    stored = Upload(store, KEY, CODEC).send_at_once(memoryview(content))
    data = store.read_small(KEY)
    assert (stored.key, stored.raw_bytes, stored.codecs) == (KEY, len(content), ("zstd", "age"))
    assert (stored.stored_bytes, stored.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert stored.blocks == hashlib.sha256(data).digest()  # one block
    assert b"".join(decode(from_bytes(data), stored.codecs, parse_identities(str(IDENTITY)))) == content


def test_upload_by_file_disk_full_stores_nothing(store: Store, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            Upload(store, KEY, CODEC, claimed=True).send_by_file(from_bytes(b"".join(LINES)), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not store.exists(KEY)


@pytest.mark.parametrize("by_file", [False, True])
def test_upload_waits_as_its_rate_demands(store: Store, tmp_path: Path, by_file: bool) -> None:
    waits: list[float] = []
    store.rate = RateLimit(1000, clock=lambda: 0.0, sleep=waits.append)
    upload, blocks = Upload(store, KEY, CODEC), from_bytes(b"".join(LINES))
    stored = upload.send_by_file(blocks, tmp_path) if by_file else upload.send(blocks)
    assert max(waits) == pytest.approx(stored.stored_bytes / 1000)


def test_upload_by_file_waits_while_the_bytes_are_sent(store: Store, tmp_path: Path) -> None:
    begun: list[bool] = []
    store.rate = RateLimit(
        1000, clock=lambda: 0.0, sleep=lambda seconds: begun.append(any((tmp_path / "storage").rglob("*.*")))
    )
    Upload(store, KEY, CODEC).send_by_file(from_bytes(os.urandom(6 << 20)), tmp_path)
    assert begun[-1], "the last blocks wait while storage receives the object"


def test_setting_limits_the_rate_of_all_uploads(context: BackupContext, settings: Any) -> None:
    assert context.store.rate.bytes_per_second is None
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "MAX_UPLOAD_RATE": "5MB"}
    with open_context() as limited:
        assert limited.store.rate.bytes_per_second == 5_000_000
