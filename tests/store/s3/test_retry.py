"""S3 that fails for a while: requests are repeated, and nothing is stored twice, lost or left behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from tempfile import TemporaryFile

import pytest

from igny8_backup.errors import StorageError
from igny8_backup.store import Retry, Store, UnreachableError
from igny8_backup.store.s3.upload import SMALLEST_PART
from igny8_backup.streams import BLOCK, Blocks
from igny8_backup.streams.pipeline import from_bytes
from tests.services.proxy import CuttingProxy, error_answer
from tests.store.conftest import OpenStore
from tests.store.sources import read

PART = SMALLEST_PART
SLOW_DOWN = error_answer(503, "SlowDown")
WITHOUT_CODE = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def patient(notes: list[str] | None = None, *, seconds: float = 60, answer_seconds: float = 75) -> Retry:
    report = (notes if notes is not None else []).append
    return Retry(seconds, first_pause=0.001, answer_seconds=answer_seconds, report=report)


CALLS: dict[str, Callable[[Store], object]] = {
    "list": lambda store: list(store.list()),
    "list_dirs": lambda store: store.list_dirs("backups"),
    "exists": lambda store: store.exists("a"),
    "size": lambda store: store.size("a"),
    "first GET": lambda store: read(store.open("a")),
    "put": lambda store: store.put("new", from_bytes(b"data")),
    "put in parts": lambda store: store.put("new", from_bytes(os.urandom(2 * PART + 5))),
    "put_small": lambda store: store.put_small("a", b"data"),
    "delete": lambda store: store.delete("a"),
    "abandoned_uploads": lambda store: store.abandoned_uploads(),
}


@pytest.mark.parametrize("answer", [SLOW_DOWN, error_answer(500, "InternalError"), WITHOUT_CODE])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_each_call_survives_an_outage_and_says_so(
    open_s3: OpenStore, proxy: CuttingProxy, call: Callable[[Store], object], answer: bytes
) -> None:
    notes: list[str] = []
    store = open_s3(proxy.endpoint, retry=patient(notes))
    store.put("a", from_bytes(b"before"))
    proxy.forge_answer(b"", answer, times=5)
    call(store)
    began, ended = notes
    assert "the server reports an error of its own" in began and "Retrying for up to 1 minute." in began
    assert ended.startswith("The storage answers again after ")


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_each_call_survives_a_request_without_answer(
    open_s3: OpenStore, proxy: CuttingProxy, call: Callable[[Store], object]
) -> None:
    store = open_s3(proxy.endpoint, retry=patient(answer_seconds=0.5))
    store.put("a", from_bytes(b"before"))
    proxy.withhold_answer(b"", times=2)
    call(store)


def test_answer_byte_by_byte_is_given_up_and_requested_again(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    store = open_s3(proxy.endpoint, retry=patient(answer_seconds=0.5))
    store.put("a", from_bytes(b"data"))
    proxy.drip_answer(b"GET ")
    assert store.read_small("a") == b"data"


def test_body_byte_by_byte_is_given_up_and_resumed(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    store = open_s3(proxy.endpoint, retry=patient(answer_seconds=0.5))
    data = os.urandom(60_000)
    store.put("a", from_bytes(data))
    etag = store._bucket.head(store._key("igny8/a"))["ETag"]  # type: ignore[index]  # it was written before
    head = f"HTTP/1.1 200 OK\r\nETag: {etag}\r\nContent-Length: {len(data)}\r\n\r\n".encode()
    proxy.drip_answer(b"GET ", head + data, start=len(head))
    assert store.read_small("a") == data


def test_upload_survives_breaks_answers_and_silence_in_every_part(
    open_s3: OpenStore, proxy: CuttingProxy
) -> None:
    store = open_s3(proxy.endpoint, retry=patient(answer_seconds=20))
    data = os.urandom(4 * PART + 5)
    proxy.cut_requests(3 * BLOCK, times=2)
    proxy.forge_answer(b"partNumber=3", SLOW_DOWN, times=3)
    store.put("a", from_bytes(data))
    assert read(store.open("a")) == data
    assert store.abandoned_uploads() == []


def test_put_with_lost_answer_and_refused_repetition_succeeds(
    open_s3: OpenStore, proxy: CuttingProxy
) -> None:
    """The ETag of an object with encryption by KMS is not the MD5 digest: the content is compared."""
    store = open_s3(proxy.endpoint, retry=patient())
    data = os.urandom(100)
    head = b'HTTP/1.1 200 OK\r\nETag: "0123"\r\nContent-Length: 100\r\nConnection: close\r\n\r\n'
    proxy.lose_answer(b"PUT ")
    proxy.forge_later(b"PUT ", error_answer(412, "PreconditionFailed"))
    proxy.forge_later(b"HEAD ", head)
    store.put("a", from_bytes(data), claimed=True)
    assert proxy.cuts == 1
    assert store.read_small("a") == data


def test_upload_in_parts_with_lost_answer_and_refused_repetition_succeeds(
    open_s3: OpenStore, proxy: CuttingProxy
) -> None:
    store = open_s3(proxy.endpoint, retry=patient())
    data = os.urandom(PART + 1)
    head = (
        'HTTP/1.1 200 OK\r\nETag: "0123-2"\r\nx-amz-server-side-encryption: aws:kms\r\n'
        f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    )
    proxy.lose_answer(b"POST ", containing=b"uploadId=")
    proxy.forge_later(b"uploadId=", error_answer(404, "NoSuchUpload"))
    proxy.forge_later(b"HEAD ", head.encode())
    store.put("a", from_bytes(data), claimed=True)
    assert proxy.cuts == 1
    assert read(store.open("a")) == data


def test_put_refused_after_a_failure_keeps_the_object_of_another(
    open_s3: OpenStore, proxy: CuttingProxy
) -> None:
    store = open_s3(proxy.endpoint, retry=patient())
    store.put_small("a", b"theirs")
    proxy.forge_answer(b"If-None-Match: *", SLOW_DOWN)
    proxy.forge_answer(b"If-None-Match: *", error_answer(412, "PreconditionFailed"))
    with pytest.raises(StorageError, match="already"):
        store.put("a", from_bytes(b"mine!!"), claimed=True)
    assert store.read_small("a") == b"theirs"


def test_delete_whose_answer_was_lost_succeeds(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    store = open_s3(proxy.endpoint, retry=patient())
    store.put("a", from_bytes(b"data"))
    proxy.lose_answer(b"DELETE ")
    proxy.forge_later(b"DELETE ", error_answer(404, "NoSuchKey"))
    store.delete("a")
    assert not store.exists("a")


def test_listing_repeats_only_the_page_that_failed(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    store = open_s3(proxy.endpoint, retry=patient())
    name = store._key("igny8/")

    def page(keys: str, following: str) -> bytes:
        entries = "".join(
            f"<Contents><Key>{name}{key}</Key><Size>4</Size><LastModified>2026-11-22T02:15:00Z</LastModified>"
            "</Contents>"
            for key in keys
        )
        more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{following}</NextContinuationToken>"
        body = f"<ListBucketResult>{entries}{more if following else ''}</ListBucketResult>"
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        return (head + body).encode()

    proxy.forge_answer(b"list-type=2", page("ab", "second"))
    proxy.forge_answer(b"continuation-token=second", SLOW_DOWN, times=3)
    proxy.forge_answer(b"continuation-token=second", page("c", ""))
    assert [stored.key for stored in store.list()] == ["a", "b", "c"]
    assert len(proxy.asked) == 5


def test_listing_without_the_next_page_raises(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    store = open_s3(proxy.endpoint)
    body = b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
    proxy.forge_answer(b"list-type=2", head + body)
    with pytest.raises(StorageError, match="returned an incomplete listing"):
        list(store.list())


def test_upload_interrupted_while_parts_are_repeated_ends(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    waiting = threading.Event()
    retry = Retry(10**6, first_pause=10**6, report=lambda text: None)
    store = open_s3(proxy.endpoint, retry=retry)
    proxy.answer_always(b"partNumber=1", SLOW_DOWN)

    def source() -> Blocks:
        yield from from_bytes(os.urandom(2 * PART))
        while not any("partNumber=1" in asked for asked in proxy.asked):
            waiting.wait(0.01)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.put("a", source())
    assert store.abandoned_uploads() == []


def test_put_file_is_repeated_from_its_beginning(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    store = open_s3(proxy.endpoint, retry=patient())
    data = os.urandom(PART)
    with TemporaryFile() as file:
        file.write(data)
        proxy.cut_requests(3 * BLOCK, times=3)
        store.put_file("a", file)
    assert read(store.open("a")) == data


@pytest.mark.parametrize("lasts", [2.0, None])
def test_outage_in_the_middle_of_an_upload_is_survived_or_ends_it(
    open_s3: OpenStore, proxy: CuttingProxy, lasts: float | None
) -> None:
    """The server is away for two thirds of the time for repetitions, as in ten minutes of 15, or longer."""
    notes: list[str] = []
    store = open_s3(proxy.endpoint, retry=patient(notes, seconds=3))
    data = os.urandom(3 * PART + 5)

    def blocks() -> Blocks:
        yield data[:PART]
        yield data[PART : 2 * PART]
        proxy.refuse()
        if lasts:
            threading.Timer(lasts, proxy.accept).start()
        yield data[2 * PART :]

    if lasts:
        store.put("a", blocks())
        assert read(store.open("a")) == data
        assert notes[-1].startswith("The storage answers again after ")
    else:
        with pytest.raises(UnreachableError, match=r"attempts within \d+ seconds failed"):
            store.put("a", blocks())
        proxy.accept()
        assert not store.exists("a")
    assert "Retrying for up to 3 seconds." in notes[0]


def test_lasting_outage_names_reason_and_attempts(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    store = open_s3(proxy.endpoint, retry=patient(seconds=0.2))
    proxy.answer_always(b"", SLOW_DOWN)
    with pytest.raises(UnreachableError, match=r"SlowDown, status 503.*All \d+ attempts within 1 second"):
        store.put("a", from_bytes(b"data"), claimed=True)


@pytest.mark.parametrize(
    ("status", "code"), [(403, "AccessDenied"), (400, "ExpiredToken"), (404, "NoSuchBucket")]
)
def test_errors_that_will_not_pass_are_not_repeated(
    open_s3: OpenStore, proxy: CuttingProxy, status: int, code: str
) -> None:
    store = open_s3(proxy.endpoint, retry=patient())
    proxy.answer_always(b"list-type=2", error_answer(status, code))
    with pytest.raises(StorageError):
        list(store.list())
    assert len(proxy.asked) == 1
