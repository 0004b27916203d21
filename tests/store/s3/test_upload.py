"""Uploads to S3: parts, their number and size, and what is left after a failure."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from io import BytesIO
from tempfile import TemporaryFile
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.store import UnreachableError
from igny8_backup.store.s3.arrived import _etag_of
from igny8_backup.store.s3.upload import (
    LARGEST_PART,
    MIB,
    MOST_PARTS,
    SMALLEST_PART,
    WORKERS,
    cut,
    part_size,
)
from igny8_backup.streams import BLOCK, Blocks
from igny8_backup.streams.pipeline import from_bytes
from tests.services.proxy import CuttingProxy, error_answer
from tests.services.s3 import RcloneS3
from tests.store.conftest import OpenStore
from tests.store.sources import failing, in_blocks, read

PART = SMALLEST_PART
TWO_PARTS = 2 * PART
MARK = b"these bytes are altered by the proxy"
OTHER_ETAG = b'HTTP/1.1 200 OK\r\nETag: "%s"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' % (b"0" * 32)


def methods(proxy: CuttingProxy) -> list[str]:
    return [asked.partition(" ")[0] for asked in proxy.asked]


@pytest.mark.parametrize("size", [PART - 1, PART, PART + 1, TWO_PARTS, TWO_PARTS + BLOCK + 1, 4 * PART - 3])
def test_upload_of_unknown_length_returns_on_open(open_s3: OpenStore, size: int) -> None:
    store = open_s3()
    data = os.urandom(size)
    store.put("a", in_blocks(data, 900_001))
    assert store.size("a") == size
    assert read(store.open("a")) == data


@pytest.mark.parametrize("error", [ValueError("pg_dump died"), KeyboardInterrupt()])
@pytest.mark.parametrize("before", [PART - 1, PART, TWO_PARTS + 1])
def test_upload_failing_source_leaves_no_parts(open_s3: OpenStore, before: int, error: BaseException) -> None:
    store = open_s3()
    with pytest.raises(type(error)) as caught:
        store.put("a", failing(os.urandom(before), error))
    assert caught.value is error
    assert store.abandoned_uploads() == []
    assert not store.exists("a")


def test_abandoned_uploads_are_found_and_aborted(open_s3: OpenStore, s3_server: RcloneS3) -> None:
    store, other = open_s3(), open_s3(prefix="other/")
    client = s3_server.client()
    begun = client.create_multipart_upload(Bucket=s3_server.bucket, Key=store._key("igny8/packs/x"))
    client.close()
    (found,) = store.abandoned_uploads()
    assert (found.key, found.upload_id) == ("packs/x", begun["UploadId"])
    assert found.initiated.tzinfo is not None
    assert other.abandoned_uploads() == []
    store.abort_upload(found)
    store.abort_upload(found)
    assert store.abandoned_uploads() == []


@pytest.mark.parametrize("status", [405, 501])
def test_abandoned_uploads_on_server_without_support_are_none(
    open_s3: OpenStore, proxy: CuttingProxy, status: int
) -> None:
    store = open_s3(proxy.endpoint)
    proxy.forge_answer(b"?uploads", error_answer(status, "NotImplemented"))
    assert store.abandoned_uploads() == []


def test_abandoned_uploads_without_permission_raise(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    store = open_s3(proxy.endpoint)
    proxy.forge_answer(b"?uploads", error_answer(403, "AccessDenied"))
    with pytest.raises(StorageError, match="access denied"):
        store.abandoned_uploads()


def test_upload_to_vanishing_server_leaves_parts_that_can_be_found(
    open_s3: OpenStore, proxy: CuttingProxy
) -> None:
    store = open_s3(proxy.endpoint)

    def source() -> Blocks:
        yield from from_bytes(os.urandom(TWO_PARTS))
        proxy.refuse()
        yield from from_bytes(os.urandom(TWO_PARTS))

    with pytest.raises(UnreachableError, match="write part"):
        store.put("a", source())
    with pytest.raises(UnreachableError):
        store.exists("a")
    proxy.accept()
    assert not store.exists("a")
    (found,) = store.abandoned_uploads()
    store.abort_upload(found)
    assert store.abandoned_uploads() == []


def test_upload_with_failing_part_leaves_nothing(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    store = open_s3(proxy.endpoint)
    proxy.cut_requests(3 * BLOCK)
    with pytest.raises(UnreachableError, match="write part"):
        store.put("a", from_bytes(os.urandom(4 * PART)))
    assert proxy.cuts == 1
    assert store.abandoned_uploads() == []
    assert not store.exists("a")


def test_put_with_broken_connection_leaves_nothing(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    store = open_s3(proxy.endpoint)
    proxy.cut_requests(BLOCK)
    with pytest.raises(UnreachableError, match="write .*igny8/a"):
        store.put("a", from_bytes(os.urandom(3 * BLOCK)))
    assert list(store.list()) == []


def test_put_with_lost_answer_succeeds(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    store = open_s3(proxy.endpoint)
    data = os.urandom(3 * BLOCK)
    proxy.lose_answer(b"PUT ")
    store.put("a", from_bytes(data))
    assert proxy.cuts == 1
    assert store.read_small("a") == data


@pytest.mark.parametrize("size", [100, PART + 1])
def test_upload_with_missing_bytes_raises_integrity_error(
    open_s3: OpenStore, proxy: CuttingProxy, size: int
) -> None:
    store = open_s3(proxy.endpoint)

    def source() -> Blocks:
        yield from from_bytes(os.urandom(size))
        head = b'HTTP/1.1 200 OK\r\nETag: "0"\r\nContent-Length: 99\r\nConnection: close\r\n\r\n'
        proxy.forge_answer(b"HEAD ", head)  # the one after the upload

    with pytest.raises(IntegrityError, match=f"{size} bytes were sent to .* has stored 99 bytes"):
        store.put("a", source())
    assert not store.exists("a")
    assert store.abandoned_uploads() == []


@pytest.mark.parametrize("size", [100, PART + 1])
def test_put_altered_on_its_way_raises_integrity_error(
    open_s3: OpenStore, proxy: CuttingProxy, size: int
) -> None:
    store = open_s3(proxy.endpoint)
    store.put("before", from_bytes(b"what the run stores first"))
    proxy.alter_requests(MARK, MARK[::-1])
    with pytest.raises(IntegrityError, match="received other bytes for .* than were sent"):
        store.put("a", from_bytes(os.urandom(size) + MARK))
    assert not store.exists("a")
    assert store.abandoned_uploads() == []


def test_put_small_altered_on_its_way_raises_integrity_error(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    store = open_s3(proxy.endpoint)
    proxy.alter_requests(MARK, MARK[::-1])
    with pytest.raises(IntegrityError, match="altered on the way"):
        store.put_small("a", MARK)


def test_put_to_server_with_other_etags_succeeds(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    """The ETag looks like an MD5 digest, so the object is examined; after that, no ETag is compared."""
    store, data = open_s3(proxy.endpoint), os.urandom(100)

    def put(key: str) -> int:
        proxy.forget()
        open_s3().put(key, from_bytes(data))
        proxy.forge_answer(b"PUT ", OTHER_ETAG)
        store.put_small(key, data)
        return methods(proxy).count("HEAD")

    assert (put("a"), put("b")) == (1, 0)


def test_put_refused_as_existing_keeps_the_object(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    store = open_s3(proxy.endpoint)

    def racing(size: int) -> Blocks:
        yield from from_bytes(os.urandom(size))
        store.put_small("a", b"theirs")
        proxy.forge_answer(b"If-None-Match: *", error_answer(412, "PreconditionFailed"))

    for size in (100, PART + 1):
        with pytest.raises(StorageError, match="already"):
            store.put("a", racing(size))
        assert store.read_small("a") == b"theirs"
        assert store.abandoned_uploads() == []
        store.delete("a")


@pytest.mark.parametrize("size", [100, PART + 1])
def test_put_to_server_without_if_none_match_succeeds(
    open_s3: OpenStore, proxy: CuttingProxy, size: int
) -> None:
    store = open_s3(proxy.endpoint)
    data = os.urandom(size)
    proxy.forge_answer(b"If-None-Match: *", error_answer(501, "NotImplemented"))
    store.put("a", from_bytes(data))
    assert read(store.open("a")) == data


def test_etag_of_parts_equals_that_of_s3(open_s3: OpenStore, s3_server: RcloneS3) -> None:
    store = open_s3()
    client = s3_server.client()
    target = {"Bucket": s3_server.bucket, "Key": store._key("igny8/a")}
    upload_id = client.create_multipart_upload(**target)["UploadId"]
    parts = [
        store._bucket.send_part(target["Key"], upload_id, number, BytesIO(os.urandom(5 * MIB)))
        for number in (1, 2)
    ]
    done = client.complete_multipart_upload(**target, UploadId=upload_id, MultipartUpload={"Parts": parts})
    client.close()
    assert done["ETag"] == f'"{_etag_of(parts)}"'


def test_settings_of_the_storage_apply_to_the_object(open_s3: OpenStore) -> None:
    store = open_s3(object_parameters={"Metadata": {"kind": "backup"}, "ChecksumAlgorithm": "SHA256"})
    for key, size in (("small.gz", 10), ("large.gz", PART + 1)):
        store.put(key, from_bytes(os.urandom(size)))
        head = store._bucket.head(store._key(f"igny8/{key}"))
        assert head is not None
        assert list(head["Metadata"].values()) == ["backup"]
        assert "ContentEncoding" not in head


def test_upload_memory_does_not_grow_with_the_stream(open_s3: OpenStore) -> None:
    store = open_s3()
    block = os.urandom(BLOCK)
    store.put("warm", (block for _ in range(9)))
    tracemalloc.start()
    store.put("a", (block for _ in range(56)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert store.size("a") == 56 * BLOCK
    # A file in memory takes up to an eighth more than its content while it grows.
    assert peak < (WORKERS + 1) * PART * 9 / 8 + 4 * MIB


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=20), st.integers(1, 40))
def test_cut_splits_the_stream_at_one_size(blocks: list[bytes], size: int) -> None:
    parts = [part.read() for part in cut(iter(blocks), size)]
    assert b"".join(parts) == b"".join(blocks)
    assert all(len(part) == size for part in parts[:-1])
    assert all(0 < len(part) <= size for part in parts)


@given(st.integers(0, LARGEST_PART * MOST_PARTS * 10 // 11))
def test_part_size_fits_every_estimate_with_room_to_spare(estimate: int) -> None:
    size = part_size(estimate)
    assert size % MIB == 0
    assert SMALLEST_PART <= size <= LARGEST_PART
    assert size * MOST_PARTS >= estimate * 1.1


def test_part_size_without_estimate_is_smallest() -> None:
    assert part_size(None) == SMALLEST_PART


def test_part_size_for_huge_estimate_is_largest() -> None:
    assert part_size(LARGEST_PART * MOST_PARTS * 10) == LARGEST_PART


def test_put_of_small_object_makes_few_requests(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    store = open_s3(proxy.endpoint)
    store.put("a", from_bytes(b"x" * 1000))
    assert methods(proxy) == ["HEAD", "PUT", "HEAD"]  # is it free, the object, all of it?
    assert all(asked.partition(" ")[2].startswith("/backups") for asked in proxy.asked)
    assert 1000 < proxy.received < 10_000


def test_put_claimed_key_makes_no_head_request(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    store = open_s3(proxy.endpoint)
    store.put("a", from_bytes(b"x" * 1000), claimed=True)
    assert methods(proxy) == ["PUT", "HEAD"]
    # Who lies about it is stopped by the server, where that knows the condition.
    proxy.forge_answer(b"If-None-Match: *", error_answer(412, "PreconditionFailed"))
    with pytest.raises(StorageError, match="already"):
        store.put("a", from_bytes(b"theirs"), claimed=True)
    assert store.read_small("a") == b"x" * 1000


@pytest.fixture
def file() -> Iterator[BinaryIO]:
    """A file that is larger than two parts."""
    with TemporaryFile() as made:
        made.write(os.urandom(TWO_PARTS + 5))
        yield made


def content(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


def test_put_file_is_sent_in_one_request_without_loading_it(
    open_s3: OpenStore, proxy: CuttingProxy, file: BinaryIO
) -> None:
    store = open_s3(proxy.endpoint)
    tracemalloc.start()
    store.put_file("a", file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert methods(proxy) == ["HEAD", "PUT", "HEAD"]
    assert peak < 4 * MIB
    assert read(store.open("a")) == content(file)


def test_put_file_too_large_for_one_request_is_sent_in_parts(
    open_s3: OpenStore, proxy: CuttingProxy, file: BinaryIO
) -> None:
    store = open_s3(proxy.endpoint)
    store.largest_file = TWO_PARTS
    store.put_file("a", file)
    assert methods(proxy) == ["HEAD", "POST", "PUT", "PUT", "PUT", "POST", "HEAD"]
    assert read(store.open("a")) == content(file)


def test_put_file_with_broken_connection_leaves_nothing(
    open_s3: OpenStore, proxy: CuttingProxy, file: BinaryIO
) -> None:
    store = open_s3(proxy.endpoint)
    proxy.cut_requests(PART)
    with pytest.raises(UnreachableError, match="write .*igny8/a"):
        store.put_file("a", file)
    assert list(store.list()) == []
    store.put_file("a", file)  # from its beginning, wherever that left it
    assert read(store.open("a")) == content(file)


def test_put_file_with_lost_answer_succeeds(open_s3: OpenStore, proxy: CuttingProxy, file: BinaryIO) -> None:
    store = open_s3(proxy.endpoint)
    proxy.lose_answer(b"PUT ")
    store.put_file("a", file)
    assert proxy.cuts == 1
    assert read(store.open("a")) == content(file)


def test_put_file_is_sent_again_to_server_without_if_none_match(
    open_s3: OpenStore, proxy: CuttingProxy, file: BinaryIO
) -> None:
    store = open_s3(proxy.endpoint)
    proxy.forge_answer(b"If-None-Match: *", error_answer(501, "NotImplemented"))
    store.put_file("a", file)
    assert read(store.open("a")) == content(file)


def test_put_file_with_missing_bytes_raises_integrity_error(
    open_s3: OpenStore, proxy: CuttingProxy, file: BinaryIO
) -> None:
    store = open_s3(proxy.endpoint)
    head = b'HTTP/1.1 200 OK\r\nETag: "0"\r\nContent-Length: 99\r\nConnection: close\r\n\r\n'
    proxy.forge_answer(b"HEAD ", head)  # claimed: the only one is that after the upload
    with pytest.raises(IntegrityError, match=f"{TWO_PARTS + 5} bytes were sent to .* has stored 99 bytes"):
        store.put_file("a", file, claimed=True)
    assert not store.exists("a")
