"""Collected documents: a copy counts if the storage says so, and no damage does more than cost requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from hashlib import md5
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storages.backends.s3 import S3Storage

from benchmarks.listing_server import ListingS3
from benchmarks.s3_answers import storage_options
from igny8_backup.catalog.snapshot import collected
from igny8_backup.catalog.snapshot.document_cache import DocumentCache
from igny8_backup.catalog.snapshot.documents import LARGEST
from igny8_backup.catalog.snapshot.snapshot_store import MANY, SnapshotStore
from igny8_backup.errors import IntegrityError
from igny8_backup.formats.keys import COLLECTED, manifest_key, run_key
from igny8_backup.store import Stored
from igny8_backup.store.s3 import S3Store
from igny8_backup.streams import zstd
from igny8_backup.streams.pipeline import from_bytes
from tests.services.proxy import CuttingProxy

HERE = "s3://server/bucket/igny8/"
IDS = [f"20261122T{number:06d}Z-7f3a9c" for number in range(40)]
RUNS = {run_key(one): one.encode() * (number % 5) for number, one in enumerate(IDS)}
MANIFESTS = {manifest_key(one): b"manifest " + one.encode() for one in IDS}
DOCUMENTS = RUNS | MANIFESTS


def stored(key: str, content: bytes) -> Stored:
    """A document as S3 lists it."""
    digest = md5(content, usedforsecurity=False).hexdigest()
    return Stored(key, len(content), None, f'"{digest}" 2026-11-22T02:15:00+00:00')


LISTED = {key: stored(key, content) for key, content in DOCUMENTS.items()}


def object_of(documents: Iterable[tuple[str, bytes]]) -> bytes:
    return b"".join(collected.copied((stored(key, content), content) for key, content in documents))


WHOLE = object_of(DOCUMENTS.items())


def compressed(content: bytes) -> bytes:
    return b"".join(zstd.compress(from_bytes(content)))


def taken(data: bytes) -> dict[str, bytes]:
    """Return what counts in the object ``data``, up to its first error."""
    found: dict[str, bytes] = {}
    try:
        for contents in collected.counting(from_bytes(data), dict(LISTED)):
            found |= {item.key: content for item, content in contents.items()}
    except IntegrityError:
        pass
    return found


def test_collected_documents_are_read_again() -> None:
    assert taken(WHOLE) == DOCUMENTS


def test_collected_documents_open_with_other_tools() -> None:
    """The description in the documentation is enough."""
    content = b"".join(zstd.decompress(from_bytes(WHOLE)))
    first, _, rest = content.partition(b"\n")
    assert json.loads(first) == {"schema": 1}
    found = {}
    while rest:
        line, _, rest = rest.partition(b"\n")
        described = json.loads(line)
        found[described["key"]], rest = rest[: described["size"]], rest[described["size"] :]
    assert found == DOCUMENTS


def test_collected_copies_are_handed_out_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collected, "AT_ONCE", 100)
    pieces = list(collected.counting(from_bytes(WHOLE), dict(LISTED)))
    assert len(pieces) > 10
    assert {item.key: content for piece in pieces for item, content in piece.items()} == DOCUMENTS


def test_collected_object_is_read_no_further_than_needed() -> None:
    (first, *_) = RUNS
    wanted = {first: LISTED[first]}
    data = object_of([(first, RUNS[first])]) + b"no frame"
    (found,) = collected.counting(from_bytes(data), wanted)
    assert found == {LISTED[first]: RUNS[first]} and not wanted


KEY = run_key(IDS[1])
CONTENT = RUNS[KEY]
SCHEMA = b'{"schema": 1}\n'


def line(**fields: object) -> bytes:
    return json.dumps(fields).encode() + b"\n"


LIES: dict[str, bytes] = {
    "other content": SCHEMA + line(key=KEY, size=len(CONTENT)) + CONTENT[::-1],
    "other size": SCHEMA + line(key=KEY, size=len(CONTENT) - 1) + CONTENT[:-1],
    "unknown key": SCHEMA + line(key=run_key("20261123T000000Z-000000"), size=len(CONTENT)) + CONTENT,
    "content of another": SCHEMA + line(key=KEY, size=len(CONTENT)) + IDS[2].encode(),
    "no document": SCHEMA + line(key=COLLECTED, size=1) + b"x",
    "schema 2": b'{"schema": 2}\n' + line(key=KEY, size=len(CONTENT)) + CONTENT,
    "no schema": line(key=KEY, size=len(CONTENT)) + CONTENT,
    "no object": b"[]\n",
    "negative size": SCHEMA + line(key=KEY, size=-1) + CONTENT,
    "huge size": SCHEMA + line(key=KEY, size=1 << 40) + CONTENT,
    "after one that is too large": SCHEMA
    + line(key="runs/x.json", size=LARGEST + 1)
    + bytes(LARGEST + 1)
    + line(key=KEY, size=len(CONTENT))
    + CONTENT,
    "size with 3,000 digits": SCHEMA + b'{"size": ' + b"9" * 3000 + b"}\n",
    "size of another type": SCHEMA + line(key=KEY, size=True) + CONTENT,
    "key of another type": SCHEMA + line(key=7, size=len(CONTENT)) + CONTENT,
    "long line": SCHEMA + b" " * (1 << 20) + line(key=KEY, size=len(CONTENT)) + CONTENT,
    "endless line": b"x" * (8 << 20),
    "deep": SCHEMA + b"[" * 4000 + b"\n",
    "no line": b"",
    "no UTF-8": SCHEMA + b"\xff\xfe\n",
    "cut off": SCHEMA + line(key=KEY, size=len(CONTENT)) + CONTENT[:-1],
}


@pytest.mark.parametrize("lie", LIES)
def test_collected_copy_that_lies_does_not_count(lie: str) -> None:
    assert taken(compressed(LIES[lie])) == {}


def test_collected_object_that_is_no_zstd_is_ignored() -> None:
    assert taken(b"no zstd") == taken(b"") == {}


def test_collected_key_that_comes_twice_counts_once() -> None:
    one = line(key=KEY, size=len(CONTENT))
    assert taken(compressed(SCHEMA + 2 * (one + CONTENT))) == {KEY: CONTENT}
    false = one + CONTENT[::-1]
    assert taken(compressed(SCHEMA + false + one + CONTENT + false)) == {KEY: CONTENT}


def test_collected_bomb_is_not_decompressed_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collected, "LARGEST_CONTENT", 16 << 20)
    size = 1 << 20
    many = (
        SCHEMA if not number else line(key="runs/x.json", size=size) + bytes(size) for number in range(64)
    )
    bomb = b"".join(zstd.compress(block for block in many))
    read = 0

    def counted() -> Iterator[bytes]:
        nonlocal read
        for start in range(0, len(bomb), 256):
            read += 1
            yield bomb[start : start + 256]

    with pytest.raises(IntegrityError):
        list(collected.counting((block for block in counted()), dict(LISTED)))
    assert read < len(bomb) / 256 / 2


def test_collected_object_does_not_become_larger_than_readers_accept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collected, "LARGEST_CONTENT", 1000)
    data = object_of(DOCUMENTS.items())
    assert len(b"".join(zstd.decompress(from_bytes(data)))) <= 1000
    assert DOCUMENTS.items() > taken(data).items() > {}.items()


@pytest.mark.parametrize(
    ("tag", "found"),
    [
        ('"9e107d9d372bb6826bd81d3542a419d6" 2026-11-22T02:15:00+00:00', True),
        ("9e107d9d372bb6826bd81d3542a419d6", True),
        ('"9e107d9d372bb6826bd81d3542a419d6-2" 2026-11-22T02:15:00+00:00', False),
        ('"0x8DE29F0B3D4A1B2"', False),
        ("", False),
    ],
)
def test_stored_md5_is_that_of_objects_stored_in_one_request(tag: str, found: bool) -> None:
    digest = "9e107d9d372bb6826bd81d3542a419d6"
    assert Stored("key", 43, None, tag).md5 == (digest if found else "")


class Bucket:
    """A bucket with all documents, and a proxy before it that counts requests."""

    def __init__(self, server: ListingS3, proxy: CuttingProxy, store: S3Store) -> None:
        self.server, self.proxy, self._store = server, proxy, store

    def put(self, data: bytes) -> None:
        self.server.put(f"igny8/{COLLECTED}", data, replace=True)

    def snapshot(self, state: Path) -> SnapshotStore:
        """Return a snapshot on a machine whose ``STATE_DIR`` is ``state``."""
        return SnapshotStore(self._store, DocumentCache(state, HERE))


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    root = tmp_path_factory.mktemp("bucket")
    with (
        ListingS3(root, 0) as server,
        CuttingProxy(server.server_port) as proxy,
        S3Store(S3Storage(**storage_options(proxy.endpoint)), "igny8/") as store,
    ):
        for key, content in DOCUMENTS.items():
            server.put(f"igny8/{key}", content, replace=False)
        yield Bucket(server, proxy, store)


def read_all(store: SnapshotStore) -> dict[str, bytes]:
    """Read all documents as operations do: run records first, then the backups, some at a time."""
    found: dict[str, bytes] = {}
    for folder in ("runs/", "backups/"):
        keys = [item.key for item in store.list(folder) if item.key != COLLECTED]
        for start in range(0, len(keys), 30):
            some = keys[start : start + 30]
            store.prefetch(some)
            found |= {key: store.read_small(key) for key in some}
    return found


def gets(bucket: Bucket) -> list[str]:
    """The objects that were read since the last call, without listings."""
    asked = [one for one in bucket.proxy.asked if one.startswith("GET") and "list-type" not in one]
    bucket.proxy.forget()
    return asked


def test_snapshot_of_an_empty_machine_reads_the_collected_documents(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put(WHOLE)
    gets(bucket)
    store = bucket.snapshot(tmp_path)
    assert read_all(store) == DOCUMENTS
    asked = gets(bucket)
    # Once for the run records, and once for the manifests: the backups are listed after the first.
    assert len(asked) == 2 and all(COLLECTED in one for one in asked), asked
    store = bucket.snapshot(tmp_path)
    assert read_all(store) == DOCUMENTS
    assert gets(bucket) == [], "they are in STATE_DIR"


def test_snapshot_reads_what_is_not_collected_one_by_one(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put(object_of([*DOCUMENTS.items()][3:]))
    gets(bucket)
    store = bucket.snapshot(tmp_path)
    assert read_all(store) == DOCUMENTS
    asked = gets(bucket)
    assert sorted(one for one in asked if COLLECTED not in one) == sorted(
        one for one in asked if any(key in one for key in [*DOCUMENTS][:3])
    )
    assert len(asked) == 5


def test_snapshot_that_needs_few_documents_reads_them_one_by_one(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put(WHOLE)
    gets(bucket)
    store = bucket.snapshot(tmp_path)
    store.prefetch([*MANIFESTS][:MANY])
    assert len(gets(bucket)) == MANY
    # As many are missing in STATE_DIR as before, but not in proportion to the size of the object.
    bucket.put(WHOLE + bytes(20 << 20))
    store = bucket.snapshot(tmp_path)
    assert read_all(store) == DOCUMENTS
    assert not [one for one in gets(bucket) if COLLECTED in one]


def test_snapshot_without_state_dir_reads_documents_one_by_one(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put(WHOLE)
    (tmp_path / "documents").write_text("a file where the folder should be")
    gets(bucket)
    store = bucket.snapshot(tmp_path)
    assert read_all(store) == DOCUMENTS
    assert len([one for one in gets(bucket) if COLLECTED in one]) == 2


def test_snapshot_keeps_no_document_that_is_gone(bucket: Bucket, tmp_path: Path) -> None:
    """What is collected and gone never comes into ``STATE_DIR``, and what is there goes in the end."""
    gone = {run_key(f"20261121T{number:06d}Z-7f3a9c"): b"gone" for number in range(100)}
    bucket.put(object_of([*gone.items(), *DOCUMENTS.items()]))
    cache = DocumentCache(tmp_path, HERE)
    cache.write({stored("runs/old.json", b"old"): b"old"}, {"runs/old.json"})
    store = bucket.snapshot(tmp_path)
    assert read_all(store) == DOCUMENTS
    assert cache.keys() - {"runs/old.json"} == DOCUMENTS.keys()
    bucket.server.put("igny8/runs/20261124T000000Z-000000.json", b"new", replace=False)
    try:
        store = bucket.snapshot(tmp_path)
        read_all(store)
        remaining = cache.keys()
        assert len(remaining) == len(DOCUMENTS) + 1 and "runs/old.json" not in remaining
    finally:
        bucket.server.remove("igny8/runs/20261124T000000Z-000000.json")


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "no zstd": lambda data: b"no zstd",
    "twice": lambda data: data + data,
    "more": lambda data: data + b"more",
    "others swapped": lambda data: object_of(zip(MANIFESTS, reversed(MANIFESTS.values()), strict=True)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_snapshot_with_a_damaged_object_is_the_same(bucket: Bucket, tmp_path: Path, damage: str) -> None:
    bucket.put(DAMAGE[damage](WHOLE))
    store = bucket.snapshot(tmp_path)
    assert read_all(store) == DOCUMENTS
    store = bucket.snapshot(tmp_path)
    assert read_all(store) == DOCUMENTS


@settings(max_examples=12)
@given(data=st.data())
def test_snapshot_with_any_object_is_the_same(
    bucket: Bucket, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(b"".join(zstd.decompress(from_bytes(WHOLE))))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=30)):
        content[place] ^= data.draw(st.integers(1, 255))
    end = data.draw(st.integers(len(content) // 2, len(content)))
    bucket.put(compressed(bytes(content[:end])))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collected, "AT_ONCE", 1)  # what is before the damage counts
        assert read_all(bucket.snapshot(tmp_path_factory.mktemp("state"))) == DOCUMENTS
