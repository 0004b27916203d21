"""The cache of documents: what it gives back is what the storage has, or nothing."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igny8_backup.catalog.snapshot import document_cache
from igny8_backup.catalog.snapshot.document_cache import DocumentCache
from igny8_backup.store import Stored
from tests.trees.tools import NOBODY, in_child

HERE = "s3://server/bucket/igny8/"
WRITTEN = datetime(2026, 11, 22, tzinfo=UTC)


def stored(key: str, content: bytes, tag: str = "tag 1") -> Stored:
    return Stored(key, len(content), WRITTEN, tag)


def filled(folder: Path, contents: dict[str, bytes]) -> dict[Stored, bytes]:
    """Fill the cache in ``folder``; return the objects."""
    made = {stored(key, content): content for key, content in contents.items()}
    DocumentCache(folder, HERE).write(made, contents)
    return made


def file_in(folder: Path) -> Path:
    (found,) = (folder / "documents").iterdir()
    return found


@settings(max_examples=20)
@given(contents=st.dictionaries(st.text(min_size=1, max_size=20), st.binary(max_size=300), max_size=20))
def test_cache_returns_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, contents: dict[str, bytes]
) -> None:
    contents = {key: content for key, content in contents.items() if key.isprintable()}
    folder = tmp_path_factory.mktemp("state")
    made = filled(folder, contents)
    assert DocumentCache(folder, HERE).read(made) == contents


@pytest.mark.parametrize(
    "changed",
    [{"size": 8}, {"tag": "tag 2"}, {"tag": ""}, {"key": "runs/2.json"}],
    ids=["size", "tag", "no-tag", "key"],
)
def test_cache_object_changed_in_storage_is_absent(tmp_path: Path, changed: dict[str, Any]) -> None:
    (made,) = filled(tmp_path, {"runs/1.json": b"content"})
    assert DocumentCache(tmp_path, HERE).read([made._replace(**changed)]) == {}


def test_cache_of_another_storage_is_not_believed(tmp_path: Path) -> None:
    (made,) = filled(tmp_path, {"runs/1.json": b"content"})
    other = DocumentCache(tmp_path, "s3://server/other/igny8/")
    assert other.read([made]) == {}
    other.write({made: b"CONTENT"}, {made.key})
    of_other, own = (tmp_path / "documents").iterdir()
    for target, source in ((of_other, own), (own, of_other)):
        swapped = source.read_bytes()
        target.write_bytes(swapped)
    assert {} in (other.read([made]), DocumentCache(tmp_path, HERE).read([made]))


@settings(max_examples=40)
@given(data=st.data())
def test_cache_with_flipped_bits_returns_exact_content_or_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("state")
    contents = {f"runs/{number}.json": bytes([number]) * 900 for number in range(20)}
    made = filled(folder, contents)
    file = file_in(folder)
    altered = bytearray(file.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(altered) * 8 - 1), min_size=1, max_size=30)):
        altered[place // 8] ^= 1 << place % 8
    file.write_bytes(altered)
    found = DocumentCache(folder, HERE).read(made)
    assert found.items() <= contents.items()
    # Whatever was damaged, the cache works again at the second attempt.
    for _ in range(2):
        DocumentCache(folder, HERE).write(made, contents)
    assert DocumentCache(folder, HERE).read(made) == contents


def test_cache_whose_version_number_is_damaged_is_replaced(tmp_path: Path) -> None:
    made = filled(tmp_path, {"runs/1.json": b"content"})
    altered = bytearray(file_in(tmp_path).read_bytes())
    altered[18] ^= 2  # SQLite then only reads the file
    file_in(tmp_path).write_bytes(altered)
    other = next(iter(made))._replace(tag="another")
    for _ in range(2):
        DocumentCache(tmp_path, HERE).write({other: b"content"}, {"runs/1.json"})
    assert DocumentCache(tmp_path, HERE).read([other]) == {"runs/1.json": b"content"}


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + bytes(200)])
def test_cache_damaged_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    made = filled(tmp_path, {"runs/1.json": b"content"})
    file_in(tmp_path).write_bytes(content)
    assert DocumentCache(tmp_path, HERE).read(made) == {}
    for _ in range(2):
        DocumentCache(tmp_path, HERE).write(made, {"runs/1.json"})
    assert DocumentCache(tmp_path, HERE).read(made) == {"runs/1.json": b"content"}


@pytest.mark.parametrize("place", [0, 1])
def test_cache_whose_table_and_index_differ_is_replaced(tmp_path: Path, place: int) -> None:
    """SQLite finds a row by its index and does not notice that the row has another key."""
    contents = {f"runs/{number}.json": bytes([number]) * 900 for number in range(20)}
    made = filled(tmp_path, contents)
    file = file_in(tmp_path)
    pieces = file.read_bytes().split(b"runs/11.json")
    assert len(pieces) == 3, "the key is in the table and in the index"
    pieces[place] += b"suns/11.json" + pieces.pop(place + 1)
    file.write_bytes(b"runs/11.json".join(pieces))
    assert DocumentCache(tmp_path, HERE).read(made).items() <= contents.items()
    for _ in range(2):
        DocumentCache(tmp_path, HERE).write(made, contents)
    assert DocumentCache(tmp_path, HERE).read(made) == contents


def test_cache_forgets_what_storage_lists_no_more(tmp_path: Path) -> None:
    old = filled(tmp_path, {"runs/1.json": b"content"})
    filled(tmp_path, {"runs/2.json": b"content"})
    assert DocumentCache(tmp_path, HERE).read(old) == {}


def test_cache_without_a_listing_forgets_nothing(tmp_path: Path) -> None:
    old = filled(tmp_path, {"runs/1.json": b"content"})
    cache = DocumentCache(tmp_path, HERE)
    assert cache.write({stored("runs/2.json", b"content"): b"content"})
    assert cache.keys() == {"runs/1.json", "runs/2.json"}
    assert cache.read(old) == {"runs/1.json": b"content"}


def test_cache_file_is_private(tmp_path: Path) -> None:
    filled(tmp_path, {"runs/1.json": b"content"})
    assert file_in(tmp_path).stat().st_mode & 0o777 == 0o600
    assert file_in(tmp_path).parent.stat().st_mode & 0o777 == 0o700


def test_cache_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "documents").write_text("a file where the folder should be")
    made = filled(tmp_path, {"runs/1.json": b"content"})
    cache = DocumentCache(tmp_path, HERE)
    assert cache.read(made) == {}
    assert not cache.write(dict.fromkeys(made, b"content"))
    assert cache.keys() == set()


def test_cache_of_another_user_stops_nothing(tmp_path: Path) -> None:
    made = filled(tmp_path, {"runs/1.json": b"content"})
    (tmp_path / "documents").chmod(0)

    def work() -> str:
        if os.geteuid() == 0:
            os.setuid(NOBODY)
        cache = DocumentCache(tmp_path, HERE)
        cache.write(dict.fromkeys(made, b"content"), {item.key for item in made})
        return repr(cache.read(made))

    assert in_child(work) == "{}"


def test_cache_full_file_grows_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path, {"runs/1.json": b"content"})
    monkeypatch.setattr(document_cache, "LARGEST_FILE", 1)
    made = filled(tmp_path, {"runs/2.json": b"content"})
    assert DocumentCache(tmp_path, HERE).read(made) == {}
