"""Azure, Google and SFTP: uploads in parts, failures of the connection, and storages that are refused."""

from __future__ import annotations

import os
import sys
import types
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import Storage

from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.store import Retry, Store, UnreachableError, open_store, pieces
from igny8_backup.store.clouds.azure import AzureStore
from igny8_backup.store.clouds.blobs import PIECE, BlobStore
from igny8_backup.store.clouds.sftp import SftpStore
from igny8_backup.streams import BLOCK, Blocks
from igny8_backup.streams.pipeline import from_bytes
from tests.services.clouds import Cloud
from tests.store.sources import failing, read

pytestmark = pytest.mark.services

PART = 256 << 10
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.fixture(params=["azure", "google", "sftp"])
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    """Each server; its proxy forwards everything at first."""
    found: Cloud = request.getfixturevalue(f"{request.param}_server")
    yield found
    found.proxy.refuse()
    found.proxy.forget()
    found.proxy.accept()


@pytest.fixture
def cloud_store(cloud: Cloud) -> Iterator[Store]:
    """A patient store on each server; Azure's and Google's parts are small."""
    storage = cloud.make(f"tests/{uuid.uuid4().hex}")
    with open_store(storage, "igny8/", Retry(60, first_pause=0.001)) as store:
        if isinstance(store, BlobStore):
            store.part = PART
        yield store


def blob_store(store: Store) -> BlobStore:
    if not isinstance(store, BlobStore):
        pytest.skip("SFTP has no parts.")
    return store


@pytest.mark.parametrize("size", [PART - 1, PART, PART + 1, 4 * PART, 5 * PART + 7])
def test_upload_of_any_length_returns_on_open(cloud_store: Store, size: int) -> None:
    data = os.urandom(size)
    cloud_store.put("a", from_bytes(data), estimate=size)
    assert cloud_store.size("a") == size
    assert read(cloud_store.open("a")) == data


def test_upload_failing_in_a_later_part_leaves_nothing(cloud_store: Store) -> None:
    with pytest.raises(ValueError, match="died"):
        cloud_store.put("a", failing(os.urandom(5 * BLOCK), ValueError("died")))
    assert not cloud_store.exists("a")
    assert list(cloud_store.list()) == []


def test_upload_in_parts_to_existing_key_raises_and_keeps_the_object(cloud_store: Store) -> None:
    store = blob_store(cloud_store)
    store.put_small("a", b"theirs")
    # The emulator of Google ignores the condition of an upload in parts.
    for claimed in (False, True) if isinstance(store, AzureStore) else (False,):
        with pytest.raises(StorageError, match="already exists"):
            store.put("a", from_bytes(os.urandom(3 * PART)), claimed=claimed)
    assert store.read_small("a") == b"theirs"


def test_requests_survive_an_outage(cloud: Cloud, cloud_store: Store) -> None:
    store = blob_store(cloud_store)
    data = os.urandom(6 * PART + 1)

    def source() -> Blocks:
        for start in range(0, len(data), PART):
            cloud.proxy.forge_answer(b"PUT ", BUSY, times=2)
            yield data[start : start + PART]

    store.put("a", source())
    for needle in (b"GET ", b"HEAD ", b"DELETE "):
        cloud.proxy.forge_answer(needle, BUSY, times=2)
        assert read(store.open("a")) == data
        assert [item.key for item in store.list()] == ["a"]
        cloud.proxy.forget()
    cloud.proxy.forge_answer(b"DELETE ", BUSY, times=2)
    store.delete("a")
    assert not store.exists("a")


def test_uploads_and_downloads_survive_broken_connections(cloud: Cloud, cloud_store: Store) -> None:
    data = os.urandom(2 * PIECE)
    cloud.proxy.cut_requests(PART // 2, times=3)
    cloud_store.put("a", from_bytes(data))
    assert cloud.proxy.cuts > 0
    cloud.proxy.forget()
    assert read(cloud_store.open("a")) == data
    cloud.proxy.cut_answers(20_000, times=3)
    assert read(cloud_store.open("a")) == data
    assert cloud.proxy.cuts > 0


@pytest.fixture
def sftp_store(sftp_server: Cloud) -> Iterator[SftpStore]:
    storage = sftp_server.make(f"tests/{uuid.uuid4().hex}")
    with open_store(storage, "igny8/", Retry(60, first_pause=0.001)) as store:
        assert isinstance(store, SftpStore)
        yield store
    sftp_server.proxy.forget()


def test_sftp_upload_goes_on_in_later_pieces(sftp_server: Cloud, sftp_store: SftpStore) -> None:
    data = os.urandom(2 * pieces.PIECE + 5)

    def source() -> Blocks:
        for start in range(0, len(data), BLOCK):
            if start in (BLOCK, pieces.PIECE + BLOCK):
                sftp_server.proxy.cut_requests(100_000, times=2)
            yield data[start : start + BLOCK]

    sftp_store.put("a", source())
    assert sftp_server.proxy.cuts > 1
    assert read(sftp_store.open("a")) == data


def test_sftp_upload_of_which_the_server_lost_bytes_is_removed(
    sftp_server: Cloud, sftp_store: SftpStore
) -> None:
    """A server that crashed may have confirmed what was not yet on its disk."""
    data = os.urandom(pieces.PIECE + BLOCK)
    folder = Path(sftp_store._server._remote_path("igny8"))

    def source() -> Blocks:
        yield data[: pieces.PIECE]
        with open(folder / "a", "r+b") as file:
            file.write(bytes(100))
        sftp_server.proxy.cut_requests(100_000, times=1)
        yield data[pieces.PIECE :]

    with pytest.raises(IntegrityError, match=r"has stored other bytes. The object was removed"):
        sftp_store.put("a", source())
    assert not sftp_store.exists("a")


def test_sftp_upload_gets_the_mode_of_the_storage(sftp_store: SftpStore) -> None:
    sftp_store._server.file_mode = 0o440
    sftp_store.put("a", from_bytes(b"data"))
    (path,) = Path(sftp_store._server._remote_path("igny8")).iterdir()
    assert path.stat().st_mode & 0o777 == 0o440
    assert sftp_store.read_small("a") == b"data"


def test_upload_whose_answer_was_lost_succeeds(cloud: Cloud, cloud_store: Store) -> None:
    store = blob_store(cloud_store)
    for size, needle in ((100, b"POST "), (100, b"PUT "), (3 * PART, b"PUT ")):
        data = os.urandom(size)
        # Google's emulator stores a part twice that is sent twice, so there the answer to the last is lost.
        last = b"" if isinstance(store, AzureStore) or size == 100 else f"/{size}".encode()
        cloud.proxy.lose_answer(needle, containing=last)
        store.put("a", from_bytes(data), claimed=True)
        cloud.proxy.forget()
        assert read(store.open("a")) == data
        store.delete("a")


def test_download_of_object_replaced_meanwhile_raises(cloud_store: Store) -> None:
    store = blob_store(cloud_store)
    store.put("a", from_bytes(os.urandom(3 * PIECE)))
    blocks = store.open("a")
    next(blocks)
    store.put_small("a", os.urandom(3 * PIECE))
    with pytest.raises(IntegrityError, match="changed or deleted while it was read"):
        read(blocks)


def test_server_that_is_away_is_named_and_never_looks_empty(cloud: Cloud, cloud_store: Store) -> None:
    cloud_store.put_small("a", b"data")
    cloud_store.retry = Retry()
    cloud.proxy.refuse()
    for call in (
        lambda: list(cloud_store.list()),
        lambda: cloud_store.exists("a"),
        lambda: cloud_store.read_small("a"),
        lambda: cloud_store.delete("a"),
    ):
        with pytest.raises(UnreachableError, match="Cannot "):
            call()


def test_requests_survive_silence(cloud: Cloud) -> None:
    storage = cloud.make(f"tests/{uuid.uuid4().hex}")
    with open_store(storage, "igny8/", Retry(60, first_pause=0.001, answer_seconds=1)) as store:
        store.put_small("a", b"data")
        cloud.proxy.withhold_answer(b"", times=1)
        assert store.read_small("a") == b"data"
        cloud.proxy.withhold_answer(b"", times=1)
        store.put_small("a", b"more")
        assert store.read_small("a") == b"more"


def test_missing_container_is_an_error(cloud: Cloud) -> None:
    storage: Any = cloud.make("x")
    if hasattr(storage, "azure_container"):
        storage.azure_container = "nowhere"
    elif hasattr(storage, "bucket_name"):
        storage.bucket_name = "nowhere"
    else:
        storage.root_path += "/nowhere"
    with open_store(storage, "igny8/") as store:
        for call in (lambda: list(store.list()), lambda: store.exists("a"), lambda: store.read_small("a")):
            with pytest.raises(StorageError, match=r"Cannot (list|read)"):
                call()


def test_store_can_be_used_after_it_was_closed(cloud_store: Store) -> None:
    cloud_store.put_small("a", b"data")
    cloud_store.close()
    assert cloud_store.read_small("a") == b"data"


def test_dropbox_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = types.ModuleType("storages.backends.dropbox")
    module.DropboxStorage = type("DropboxStorage", (Storage,), {})
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with pytest.raises(StorageError, match=r"DropboxStorage .* cannot hold backups.*Azure"):
        open_store(module.DropboxStorage(), "igny8/")
