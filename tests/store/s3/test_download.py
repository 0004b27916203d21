"""Downloads from S3 over connections that break, and of objects that change."""

from __future__ import annotations

import os
import threading

import pytest

from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.store import Retry, UnreachableError
from igny8_backup.store.s3 import ranges
from igny8_backup.streams import BLOCK
from igny8_backup.streams.pipeline import from_bytes
from tests.services.proxy import CuttingProxy
from tests.store.conftest import OpenStore
from tests.store.sources import read

DATA = os.urandom(7 * BLOCK + 12_345)
CUT = 2 * BLOCK + 10_000


def patient(seconds: float = 30) -> Retry:
    return Retry(seconds, first_pause=0.01)


@pytest.mark.parametrize(("times", "after", "reset"), [(3, CUT, False), (3, CUT, True), (6, CUT // 2, False)])
def test_download_survives_broken_connections(
    open_s3: OpenStore, proxy: CuttingProxy, times: int, after: int, reset: bool
) -> None:
    store = open_s3(proxy.endpoint, retry=patient())
    store.put("a", from_bytes(DATA))
    proxy.cut_answers(after, times=times, reset=reset)
    assert read(store.open("a")) == DATA
    assert proxy.cuts == times


def test_download_survives_breaks_before_the_first_block(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    store = open_s3(proxy.endpoint, retry=patient())
    store.put("a", from_bytes(DATA))
    proxy.cut_answers(1_000, times=2)
    assert read(store.open("a")) == DATA
    assert proxy.cuts == 2


def test_download_without_progress_gives_up(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    store = open_s3(proxy.endpoint, retry=patient(0.3))
    store.put("a", from_bytes(DATA))
    proxy.cut_answers(CUT)
    blocks = store.open("a")
    got = next(blocks) + next(blocks)
    proxy.cut_answers(1_000, times=100)
    with pytest.raises(
        UnreachableError,
        match=r"igny8/a .*closed the connection in the middle of an answer\. All \d+ attempts within",
    ):
        read(blocks)
    assert DATA.startswith(got)
    assert proxy.cuts > 2


def test_download_from_stopped_server_gives_up(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    store = open_s3(proxy.endpoint, retry=patient(0.3))
    store.put("a", from_bytes(DATA))
    blocks = store.open("a")
    next(blocks)
    proxy.refuse()
    with pytest.raises(UnreachableError, match="refused the connection"):
        read(blocks)


def test_download_of_object_replaced_meanwhile_raises(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    store = open_s3(proxy.endpoint, retry=patient())
    store.put("a", from_bytes(DATA))
    proxy.cut_answers(CUT)
    blocks = store.open("a")
    next(blocks)
    store.put_small("a", os.urandom(len(DATA)))
    with pytest.raises(IntegrityError, match="changed or deleted while it was read"):
        read(blocks)


def test_download_of_object_deleted_meanwhile_raises_integrity_error(
    open_s3: OpenStore, proxy: CuttingProxy
) -> None:
    store = open_s3(proxy.endpoint, retry=patient())
    store.put("a", from_bytes(DATA))
    proxy.cut_answers(CUT)
    blocks = store.open("a")
    next(blocks)
    store.delete("a")
    with pytest.raises(IntegrityError, match="changed or deleted while it was read"):
        read(blocks)


@pytest.mark.parametrize("content_range", ["", "Content-Range: bytes 5-9/10\r\n"])
def test_download_resumed_at_other_position_raises(
    open_s3: OpenStore, proxy: CuttingProxy, content_range: str
) -> None:
    store = open_s3(proxy.endpoint, retry=patient())
    store.put("a", from_bytes(DATA))
    etag = store._bucket.head(store._key("igny8/a"))["ETag"]  # type: ignore[index]  # it was written before
    head = f"HTTP/1.1 200 OK\r\nETag: {etag}\r\n{content_range}Content-Length: 5\r\nConnection: close\r\n\r\n"
    proxy.cut_answers(CUT)
    proxy.forge_answer(b"range: bytes", head.encode() + b"wrong")
    with pytest.raises(StorageError, match="the server returns other bytes"):
        read(store.open("a"))


def test_download_with_wrong_checksum_raises_integrity_error(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    store = open_s3(proxy.endpoint, retry=patient())
    head = b'HTTP/1.1 200 OK\r\nETag: "0"\r\nx-amz-checksum-crc32: AAAAAA==\r\nContent-Length: 5\r\n\r\n'
    proxy.forge_answer(b"GET ", head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + b"wrong")
    with pytest.raises(IntegrityError, match="does not match the checksum"):
        store.read_small("a")


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read ``DATA`` in four ranges."""
    monkeypatch.setattr(ranges, "RANGE", 2 * BLOCK)
    monkeypatch.setattr(ranges, "LARGE", 4 * BLOCK)


def ranges_asked(proxy: CuttingProxy) -> int:
    return sum(1 for request in proxy.asked if request.startswith("GET ") and request.endswith("/igny8/a"))


@pytest.mark.usefixtures("small_ranges")
@pytest.mark.parametrize(("times", "reset"), [(0, False), (5, False), (5, True)])
def test_large_download_reads_ranges_over_broken_connections(
    open_s3: OpenStore, proxy: CuttingProxy, times: int, reset: bool
) -> None:
    store = open_s3(proxy.endpoint, retry=patient())
    store.put("a", from_bytes(DATA))
    proxy.cut_answers(BLOCK, times=times, reset=reset)
    assert read(store.open("a")) == DATA
    assert proxy.cuts == times and ranges_asked(proxy) >= 4 + times


@pytest.mark.usefixtures("small_ranges")
def test_large_download_of_object_replaced_meanwhile_raises(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    store = open_s3(proxy.endpoint, retry=patient())
    store.put("a", from_bytes(DATA))
    blocks = store.open("a")
    next(blocks)
    store.put_small("a", os.urandom(len(DATA)))
    with pytest.raises(IntegrityError, match="changed or deleted while it was read"):
        read(blocks)


@pytest.mark.usefixtures("small_ranges")
def test_large_download_from_a_server_without_ranges_is_read_in_one_piece(
    open_s3: OpenStore, proxy: CuttingProxy
) -> None:
    store = open_s3(proxy.endpoint, retry=patient())
    store.put("a", from_bytes(DATA))
    etag = store._bucket.head(store._key("igny8/a"))["ETag"]  # type: ignore[index]  # it was written before
    head = f"HTTP/1.1 200 OK\r\nETag: {etag}\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
    proxy.forge_answer(b"range: bytes", head.encode() + b"wrong", times=10)
    assert read(store.open("a")) == DATA


@pytest.mark.usefixtures("small_ranges")
def test_large_download_that_is_given_up_or_fails_leaves_no_thread(
    open_s3: OpenStore, proxy: CuttingProxy
) -> None:
    store = open_s3(proxy.endpoint, retry=patient(0.3))
    store.put("a", from_bytes(DATA))
    blocks = store.open("a")
    next(blocks)
    blocks.close()
    blocks = store.open("a")
    next(blocks)
    proxy.refuse()
    with pytest.raises(UnreachableError):
        read(blocks)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("s3-range")]
