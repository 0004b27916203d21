"""Buckets that keep versions: nothing piles up, deletion deletes, and the past can be read."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from storages.backends.s3 import S3Storage

from igny8_backup.errors import StorageError
from igny8_backup.store import MissingObjectError, Store
from igny8_backup.store.intact import find_intact, open_intact, size_with_versions
from igny8_backup.store.s3 import S3Store
from igny8_backup.streams import Blocks
from igny8_backup.streams.pipeline import from_bytes
from tests.services.moto import MotoServer

Open = Callable[[], S3Store]


@pytest.fixture
def bucket(moto_server: MotoServer) -> str:
    return moto_server.bucket()


@pytest.fixture
def open_versioned(moto_server: MotoServer, bucket: str) -> Iterator[Open]:
    """A function that opens stores on the bucket, as processes on several hosts would."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(S3Store(S3Storage(**moto_server.options(bucket)), "igny8/"))


@pytest.fixture
def store(open_versioned: Open) -> S3Store:
    return open_versioned()


@pytest.fixture
def client(moto_server: MotoServer) -> Iterator[object]:
    client = moto_server.client()
    yield client
    client.close()


def versions_of(client: Any, bucket: str) -> list[tuple[str, int | None]]:
    """Return the keys of all versions and markers in the bucket with their sizes."""
    found = client.list_object_versions(Bucket=bucket)
    kept = [(item["Key"], item.get("Size")) for item in found.get("Versions", [])]
    return sorted(kept) + [(item["Key"], None) for item in found.get("DeleteMarkers", [])]


def test_delete_leaves_neither_versions_nor_markers(store: S3Store, client: Any, bucket: str) -> None:
    store.put("a", from_bytes(b"one"))
    client.put_object(Bucket=bucket, Key="igny8/a", Body=b"overwritten")
    client.delete_object(Bucket=bucket, Key="igny8/a")
    store.put("ab", from_bytes(b"another object"))
    store.delete("a")
    assert versions_of(client, bucket) == [("igny8/ab", 14)]
    store.delete("a")  # a missing object is no error
    assert store.versions("a") == []


def test_put_small_again_keeps_one_version(store: S3Store, client: Any, bucket: str) -> None:
    store.put("runs/record", from_bytes(b"started"))
    for number in range(5):
        store.put_small("runs/record", b"heartbeat %d" % number)
    assert versions_of(client, bucket) == [("igny8/runs/record", 11)]


def test_put_small_over_an_object_of_another_process_keeps_its_version(
    open_versioned: Open, client: Any, bucket: str
) -> None:
    open_versioned().put("a", from_bytes(b"by another process"))
    open_versioned().put_small("a", b"new")
    assert versions_of(client, bucket) == [("igny8/a", 3), ("igny8/a", 18)]


def test_failed_upload_leaves_no_version(store: S3Store, client: Any, bucket: str) -> None:
    def failing() -> Blocks:
        yield b"x" * (9 << 20)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.put("a", failing())
    assert versions_of(client, bucket) == []


@pytest.mark.parametrize("harm", ["overwritten", "same size", "deleted", "overwritten and deleted"])
def test_find_intact_returns_the_version_that_was_written(
    store: S3Store, client: Any, bucket: str, harm: str
) -> None:
    data = b"as it was written"
    store.put("a", from_bytes(data))
    put = {"Bucket": bucket, "Key": "igny8/a"}
    if harm != "deleted":
        body = b"x" * len(data) if harm == "same size" else b"something else"
        client.put_object(**put, Body=body)
    if "deleted" in harm:
        client.delete_object(**put)
    notes: list[str] = []
    read = open_intact(store, "a", hashlib.sha256(data).hexdigest(), len(data), notes.append)
    assert [b"".join(read()), b"".join(read())] == [data, data]
    (note,) = notes
    assert note.startswith("WARNING: a was overwritten or deleted in the storage.")
    assert size_with_versions(store, "a", len(data)) == len(data)


def test_find_intact_without_a_fitting_version_leaves_the_damage(
    store: S3Store, client: Any, bucket: str
) -> None:
    store.put("a", from_bytes(b"one"))
    client.put_object(Bucket=bucket, Key="igny8/a", Body=b"two")
    assert find_intact(store, "a", sha256="0" * 64, size=3) is None
    assert size_with_versions(store, "a", 4) == 3
    with pytest.raises(MissingObjectError):
        size_with_versions(store, "missing", 4)


def test_as_of_shows_what_was_there_before_the_harm(store: S3Store, client: Any, bucket: str) -> None:
    for key in ("backups/1/manifest.json", "backups/2/manifest.json", "runs/1.json"):
        store.put(key, from_bytes(key.encode()))
    moment = next_second()
    client.put_object(Bucket=bucket, Key="igny8/backups/1/manifest.json", Body=b"forged")
    client.delete_object(Bucket=bucket, Key="igny8/backups/2/manifest.json")
    store.put("backups/3/manifest.json", from_bytes(b"later"))
    past = store.as_of(moment)
    assert [item.key for item in past.list()] == [
        "backups/1/manifest.json",
        "backups/2/manifest.json",
        "runs/1.json",
    ]
    assert past.list_dirs("backups") == ["1", "2"]
    assert past.read_small("backups/1/manifest.json") == b"backups/1/manifest.json"
    assert past.size("backups/2/manifest.json") == len("backups/2/manifest.json")
    with pytest.raises(MissingObjectError):
        past.read_small("backups/3/manifest.json")
    assert list(store.as_of(moment - timedelta(days=1)).list()) == []
    assert list(store.hidden("backups")) == ["backups/2/manifest.json"]


@pytest.mark.parametrize(
    "write",
    [
        lambda store: store.put("new", from_bytes(b"data")),
        lambda store: store.put_small("new", b"data"),
        lambda store: store.delete("a"),
    ],
    ids=["put", "put_small", "delete"],
)
def test_as_of_refuses_to_write(store: S3Store, write: Callable[[Store], None]) -> None:
    store.put("a", from_bytes(b"data"))
    with pytest.raises(StorageError, match="can only be read"):
        write(store.as_of(datetime.now(UTC)))
    assert store.read_small("a") == b"data" and not store.exists("new")


def test_as_of_without_versions_is_refused(moto_server: MotoServer) -> None:
    options = moto_server.options(moto_server.bucket(versions=False))
    with S3Store(S3Storage(**options), "igny8/") as store:
        store.put("a", from_bytes(b"data"))
        assert store.versions("a") == [] and store.hidden("") == {}
        with pytest.raises(StorageError, match="keeps no versions"):
            store.as_of(datetime.now(UTC))


def next_second() -> datetime:
    """Wait until a second has ended, to which the server rounds its times, and return its last moment."""
    moment = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
    while datetime.now(UTC) < moment:
        time.sleep(0.05)
    return moment - timedelta(microseconds=1)
