"""Listings in several ranges at the same time find the objects that one listing after the other finds."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.core.files.storage import FileSystemStorage
from hypothesis import given
from hypothesis import strategies as st

from igny8_backup.catalog.snapshot.listed_folder import ListedFolder
from igny8_backup.catalog.snapshot.listing import (
    SIDE_BY_SIDE,
    list_backups,
    list_packs_and_checks,
    list_spread,
)
from igny8_backup.errors import StorageError
from igny8_backup.formats import keys, lists
from igny8_backup.store import Stored
from igny8_backup.store.folder.local import LocalStore

FOLDER = "packs/web-1/sites/"
IDS = [
    keys.make_id(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day), f"{day:06x}") for day in range(400)
]
names = st.text("0123-/", min_size=1, max_size=3).filter(lambda name: not name.endswith("/"))


class Paged(LocalStore):
    """A store of keys in memory that lists ``largest`` keys in a page, and counts the pages."""

    parallel_lists = True

    def __init__(self, found: list[str], largest: int, *, ordered: bool = True) -> None:
        super().__init__(FileSystemStorage("/nonexistent"), "")
        self.keys, self.largest, self.ordered = sorted(found), largest, ordered
        self.pages: list[str] = []
        self.lock = threading.Lock()

    def list_page(self, prefix: str, after: str) -> tuple[list[Stored], str] | None:
        with self.lock:
            self.pages.append(prefix)
        if not self.ordered:
            return None
        found = [key for key in self.keys if key.startswith(prefix)]
        found = found[bisect_right(found, after) :]
        page = found[: self.largest]
        return [Stored(key, 1, None) for key in page], page[-1] if len(found) > len(page) else ""

    def list_level(self, prefix: str) -> tuple[list[Stored], list[str]]:
        below = [key[len(prefix) :] for key in self.keys if key.startswith(prefix)]
        objects = [Stored(prefix + name, 1, None) for name in below if "/" not in name]
        return objects, sorted({name.partition("/")[0] for name in below if "/" in name})

    def list(self, prefix: str = "", unlisted: dict[str, str] | None = None) -> Iterator[Stored]:
        self.pages.append(f"all of {prefix}")
        return (Stored(key, 1, None) for key in self.keys if key.startswith(prefix))


@given(
    st.lists(names, unique=True, max_size=60), st.lists(names, unique=True, max_size=40), st.integers(1, 4)
)
def test_every_object_is_listed_once(found: list[str], marks: list[str], largest: int) -> None:
    store = Paged([FOLDER + name for name in found], largest)
    listed = list_spread(store, {FOLDER: sorted(marks), "packs/web-1/other/": []}, {})
    assert sorted(item.key for item in listed) == store.keys


def test_folder_with_many_pages_is_listed_in_ranges_with_few_more_requests() -> None:
    packs = [f"{FOLDER}{backup_id}-{number:04d}.tar.zst" for backup_id in IDS for number in range(1, 6)]
    written = [lists.list_key("web-1", backup_id, 1) for backup_id in IDS]
    store = Paged([*packs, *written], 20)
    listed = list_packs_and_checks(store, {})
    assert sorted(item.key for item in listed) == store.keys
    assert len(packs) / 20 < store.pages.count(FOLDER) <= len(packs) / 20 + SIDE_BY_SIDE


def test_large_folders_share_the_ranges_that_are_listed_at_a_time() -> None:
    folders = [f"packs/web-1/{tree}/" for tree in ("sites", "uploads", "logs")]
    packs = [
        f"{folder}{one}-{number:04d}.tar.zst" for folder in folders for one in IDS for number in range(5)
    ]
    store = Paged(packs, 20)
    assert sorted(item.key for item in list_spread(store, dict.fromkeys(folders, IDS), {})) == store.keys
    assert len(packs) / 20 < len(store.pages) <= len(packs) / 20 + SIDE_BY_SIDE


def test_backups_are_listed_in_ranges_of_the_ids_of_their_runs() -> None:
    store = Paged([keys.manifest_key(backup_id) for backup_id in IDS], 4)
    listed = list_backups(store, [Stored(key, 1, None) for key in (*map(keys.run_key, IDS), keys.MARKER)], {})
    assert sorted(item.key for item in listed) == store.keys
    assert 100 < store.pages.count(keys.BACKUPS) <= 100 + SIDE_BY_SIDE


def test_folder_of_one_page_needs_one_request() -> None:
    store = Paged([f"{FOLDER}{backup_id}-0001.tar.zst" for backup_id in IDS], 1000)
    list_spread(store, {FOLDER: IDS}, {})
    assert store.pages == [FOLDER]


def test_server_without_order_is_listed_page_after_page() -> None:
    store = Paged([f"{FOLDER}{backup_id}-0001.tar.zst" for backup_id in IDS], 10, ordered=False)
    assert len(list_spread(store, {FOLDER: IDS}, {})) == len(IDS)
    assert store.pages == [FOLDER, f"all of {FOLDER}"]


def test_server_that_loses_the_order_is_listed_anew_without_repetitions() -> None:
    store = Paged([f"{FOLDER}{backup_id}-0001.tar.zst" for backup_id in IDS], 10)

    class Losing(Paged):
        def list_page(self, prefix: str, after: str) -> tuple[list[Stored], str] | None:
            return None if len(self.pages) > 20 else super().list_page(prefix, after)

    store = Losing(store.keys, 10)
    listed = list_spread(store, {FOLDER: IDS}, {})
    assert sorted(item.key for item in listed) == store.keys


@pytest.mark.parametrize("ordered", [True, False])
def test_tags_are_kept_of_documents_only(ordered: bool) -> None:
    """The tags of hundreds of thousands of packs would need much memory until all pages are there."""
    document = lists.list_key("web-1", IDS[0], 1)

    class Tagged(Paged):
        def list_page(self, prefix: str, after: str) -> tuple[list[Stored], str] | None:
            page = super().list_page(prefix, after)
            return page and ([item._replace(tag="tag") for item in page[0]], page[1])

        def list(self, prefix: str = "", unlisted: dict[str, str] | None = None) -> Iterator[Stored]:
            return (item._replace(tag="tag") for item in super().list(prefix, unlisted))

    store = Tagged([document, f"{FOLDER}{IDS[0]}-0001.tar.zst"], 10, ordered=ordered)
    assert {item.key for item in list_spread(store, {"packs/": ()}, {}) if item.tag} == {document}


def test_error_of_a_page_is_raised() -> None:
    class Failing(Paged):
        def list_page(self, prefix: str, after: str) -> tuple[list[Stored], str] | None:
            if len(self.pages) > 20:
                raise StorageError("The server burns.")
            return super().list_page(prefix, after)

    with pytest.raises(StorageError, match="burns"):
        list_spread(
            Failing([f"{FOLDER}{backup_id}-0001.tar.zst" for backup_id in IDS], 10), {FOLDER: IDS}, {}
        )


@given(st.sets(names, max_size=20), st.lists(names, min_size=1, max_size=6))
def test_sizes_of_several_keys_are_those_of_each(listed: set[str], wanted: list[str]) -> None:
    folder = ListedFolder((Stored(name, len(name), None) for name in listed), lambda key: False)
    some = sorted(wanted)
    assert folder.sizes(some) == [folder.size(key) for key in some]
    assert folder.sizes(sorted(listed)) == [len(name) for name in sorted(listed)]


def test_documents_are_the_objects_with_tags() -> None:
    items = [
        Stored(f"{number}.{kind}", number, None, "tag") for number in range(3) for kind in ("json", "tar")
    ]
    folder = ListedFolder(items, lambda key: key.endswith(".json"))
    assert list(folder.documents()) == items[::2]
