"""The contract of every store."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from tempfile import TemporaryFile

import pytest

from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.store import MissingObjectError, Store
from igny8_backup.streams import BLOCK
from igny8_backup.streams.behind import Behind
from igny8_backup.streams.pipeline import from_bytes
from tests.store.sources import failing, in_blocks, read

SIZES = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5]


def fill(store: Store, *keys: str) -> None:
    for key in keys:
        store.put(key, from_bytes(key.encode()))


def listed(store: Store, prefix: str = "") -> list[str]:
    return [stored.key for stored in store.list(prefix)]


@pytest.mark.parametrize("size", SIZES)
def test_put_then_open_returns_the_stream(store: Store, size: int) -> None:
    data = os.urandom(size)
    store.put("db/default.dump", from_bytes(data), estimate=size)
    assert read(store.open("db/default.dump")) == data
    assert store.size("db/default.dump") == size
    assert store.exists("db/default.dump")


@pytest.mark.parametrize("block", [1000, BLOCK // 3, 2 * BLOCK + 7])
def test_put_blocks_of_any_length_are_stored(store: Store, block: int) -> None:
    data = os.urandom(2 * BLOCK + 11)
    store.put("db/default.dump", in_blocks(data, block))
    assert read(store.open("db/default.dump")) == data


@pytest.mark.parametrize("error", [ValueError("pg_dump died"), KeyboardInterrupt(), SystemExit(143)])
@pytest.mark.parametrize("before", [0, 100, 3 * BLOCK])
def test_put_failing_source_leaves_nothing_and_raises_its_error(
    store: Store, before: int, error: BaseException
) -> None:
    source = failing(os.urandom(before), error)
    with pytest.raises(type(error)) as caught:
        store.put("db/default.dump", source)
    assert caught.value is error
    assert inspect.getgeneratorstate(source) == inspect.GEN_CLOSED
    assert listed(store) == []
    assert not store.exists("db/default.dump")


def test_put_after_failure_succeeds(store: Store) -> None:
    with pytest.raises(ValueError, match="died"):
        store.put("a", failing(b"some", ValueError("died")))
    store.put("a", from_bytes(b"all"))
    assert store.read_small("a") == b"all"


def test_put_existing_key_raises_and_keeps_the_object(store: Store) -> None:
    store.put("a", from_bytes(b"first"))
    source = from_bytes(b"second")
    with pytest.raises(StorageError, match="already"):
        store.put("a", source)
    assert inspect.getgeneratorstate(source) == inspect.GEN_CLOSED
    assert store.read_small("a") == b"first"
    assert listed(store) == ["a"]


def test_open_missing_object_names_the_key(store: Store) -> None:
    blocks = store.open("backups/x/manifest.json")
    with pytest.raises(MissingObjectError, match=r"igny8/backups/x/manifest\.json"):
        next(blocks)
    with pytest.raises(MissingObjectError):
        store.read_small("backups/x/manifest.json")
    with pytest.raises(MissingObjectError):
        store.size("backups/x/manifest.json")
    assert not store.exists("backups/x/manifest.json")
    store.delete("backups/x/manifest.json")


def test_put_small_writes_and_replaces(store: Store) -> None:
    for data in (b"running", b"done, and longer", b"short", b""):
        store.put_small("runs/a.json", data)
        assert store.read_small("runs/a.json") == data
    assert listed(store) == ["runs/a.json"]


def test_read_small_larger_than_limit_raises(store: Store) -> None:
    store.put("a", from_bytes(b"x" * 1001))
    assert len(store.read_small("a", limit=1001)) == 1001
    with pytest.raises(IntegrityError, match="larger than 1000 bytes"):
        store.read_small("a", limit=1000)


def test_open_closed_early_raises_nothing(store: Store) -> None:
    store.put("a", from_bytes(os.urandom(3 * BLOCK)))
    blocks = store.open("a")
    assert len(next(blocks)) > 0
    blocks.close()
    assert store.exists("a")


def test_list_is_recursive_and_sorted_with_size_and_time(store: Store) -> None:
    keys = ["a/x", "a-b/x", "a.b", "a/b/c", "A/z", "a0", "ä", "runs/1.json"]
    fill(store, *keys)
    found = list(store.list())
    assert [stored.key for stored in found] == sorted(keys)
    assert [stored.size for stored in found] == [len(key.encode()) for key in sorted(keys)]
    assert all(stored.modified and stored.modified.utcoffset() == timedelta(0) for stored in found)


def test_list_prefix_means_a_folder(store: Store) -> None:
    fill(store, "app/1", "app2/1", "app/2/3")
    assert listed(store, "app") == listed(store, "app/") == ["app/1", "app/2/3"]
    assert listed(store, "ap") == listed(store, "nothing/here") == listed(store, "app/1") == []


def test_list_dirs_returns_names_of_one_level(store: Store) -> None:
    fill(store, "backups/b/manifest.json", "backups/a/db/x", "backups/a/y", "backups/note", "packs/z")
    assert store.list_dirs() == ["backups", "packs"]
    assert store.list_dirs("backups") == store.list_dirs("backups/") == ["a", "b"]
    assert store.list_dirs("backups/b") == store.list_dirs("missing") == []


def test_list_dirs_omits_emptied_folders(store: Store) -> None:
    fill(store, "backups/a/db/x", "backups/b/y")
    store.delete("backups/a/db/x")
    assert store.list_dirs("backups") == ["b"]
    store.delete("backups/b/y")
    assert store.list_dirs() == listed(store) == []
    fill(store, "backups/a/db/x")
    assert listed(store) == ["backups/a/db/x"]


@pytest.mark.parametrize(
    "key",
    ["", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a\\b", "a\nb", "a\0", "x" * 256]
    + ["/".join(["x" * 200] * 6), "\ud800"],
)
def test_invalid_keys_raise_before_any_request(store: Store, key: str) -> None:
    source = from_bytes(b"data")
    for call in (
        lambda: store.put(key, source),
        lambda: store.put_small(key, b"data"),
        lambda: store.open(key),
        lambda: store.exists(key),
        lambda: store.delete(key),
    ):
        with pytest.raises(StorageError, match="cannot be a key"):
            call()
    assert inspect.getgeneratorstate(source) == inspect.GEN_CLOSED
    assert listed(store) == []


@pytest.mark.parametrize("key", ["with space/ü+%20&?#=~'", "a.b-c_d/..e", "x" * 200 + "/y"])
def test_unusual_keys_are_stored_unchanged(store: Store, key: str) -> None:
    store.put(key, from_bytes(b"data"))
    assert listed(store) == [key]
    assert store.read_small(key) == b"data"
    store.delete(key)
    assert listed(store) == []


def test_stores_with_other_prefixes_are_separate(make_store: Callable[[str], Store]) -> None:
    one, two, root = make_store("one/"), make_store("two"), make_store("")
    fill(one, "a")
    fill(two, "b")
    assert (listed(one), listed(two), listed(root)) == (["a"], ["b"], ["one/a", "two/b"])
    assert root.list_dirs() == ["one", "two"]
    assert make_store("one").identity() == one.identity()
    assert len({one.identity(), two.identity(), root.identity()}) == 3


def test_prefix_that_leaves_the_storage_raises(make_store: Callable[[str], Store]) -> None:
    for prefix in ("../", "/etc/", "a/../../b"):
        with pytest.raises(StorageError, match="cannot be a key"):
            make_store(prefix)


def test_close_twice_raises_nothing(store: Store) -> None:
    with store:
        fill(store, "a")
    store.close()


@pytest.mark.parametrize("size", SIZES)
def test_put_file_stores_it_from_the_beginning_and_keeps_it_open(store: Store, size: int) -> None:
    data = os.urandom(size)
    with TemporaryFile() as file:
        file.write(data)  # some of it still in the memory of this process, and the position at the end
        store.put_file("db/default.dump", file)
        assert not file.closed
    assert read(store.open("db/default.dump")) == data
    assert listed(store) == ["db/default.dump"]


def test_put_file_to_existing_or_invalid_key_raises(store: Store) -> None:
    store.put("a", from_bytes(b"first"))
    with TemporaryFile() as file:
        file.write(b"second")
        with pytest.raises(StorageError, match="already"):
            store.put_file("a", file)
        with pytest.raises(StorageError, match="cannot be a key"):
            store.put_file("../a", file)
    assert store.read_small("a") == b"first"
    assert listed(store) == ["a"]


def test_put_claimed_key_behaves_like_any_key(store: Store) -> None:
    store.put("a", from_bytes(b"a stream"), claimed=True)
    with TemporaryFile() as file:
        file.write(b"a file")
        store.put_file("b", file, claimed=True)
    with pytest.raises(ValueError, match="died"):
        store.put("c", failing(b"some", ValueError("died")), claimed=True)
    assert {key: store.read_small(key) for key in listed(store)} == {"a": b"a stream", "b": b"a file"}


def test_objects_stored_by_threads_while_the_caller_asks_return_on_open(store: Store) -> None:
    """As packs of a dump in chunks are."""
    data = {f"packs/{number}": os.urandom(number * BLOCK + number) for number in range(8)}
    with Behind(2 if store.parallel_streams else 1) as behind:
        for key, content in data.items():
            behind.call(partial(store.put, key, from_bytes(content), estimate=len(content)))
            if store.parallel_streams:
                assert not store.exists("packs/none")
    assert {key: read(store.open(key)) for key in data} == data
