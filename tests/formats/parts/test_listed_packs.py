"""Packs in the columns of their lists: the same packs, and the same errors, as object after object."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys, records
from igny8_backup.formats.lists import (
    BLOCK_BYTES,
    SCHEMA,
    ListedObject,
    ObjectList,
    PackList,
    as_ranges,
    in_base64,
    list_key,
    read_list,
)
from igny8_backup.formats.objects import ListReference
from igny8_backup.formats.parts import pack_list_reader
from igny8_backup.formats.parts.listed_packs import ListedPacks, PackGroups, count_once, select, sizes_of
from igny8_backup.formats.parts.pack_list_reader import read_packs

HOST = "web-1"
RUNS = ("20261121T021500Z-000000", "20261122T021500Z-7f3a9c")
KEY = list_key(HOST, RUNS[1], 1)
SUFFIXES = (".tar.zst", ".tar.zst.age", ".r0a1b2c.tar.zst", ".chunks.zst", ".runs.zst")
FOLDERS = (keys.pack_folder(HOST, "uploads"), keys.pack_folder(HOST, "sites-2024"))
REFERENCE = ListReference(key=KEY, stored_bytes=1, sha256="0" * 64)

ITEM = ListedObject(
    key=f"{FOLDERS[0]}{RUNS[0]}-0001.tar.zst",
    stored_bytes=5,
    raw_bytes=9,
    sha256="ab" * 32,
    codecs=("zstd",),
)
NUMBERS = ("0001", "0002", "0004")
objects = st.builds(
    lambda folder, run, number, suffix, size, digest, codecs: ListedObject(
        key=f"{folder}{keys.pack_name(run, number)}{suffix}",
        stored_bytes=size,
        raw_bytes=size * 2,
        sha256=digest.hex(),
        codecs=codecs,
        blocks=in_base64(bytes(64)) if size > BLOCK_BYTES else "",
    ),
    folder=st.sampled_from(FOLDERS),
    run=st.sampled_from(RUNS),
    number=st.integers(1, 30) | st.integers(9990, 10010),
    suffix=st.sampled_from(SUFFIXES),
    size=st.sampled_from([0, 1, BLOCK_BYTES, BLOCK_BYTES + 1]),
    digest=st.binary(min_size=32, max_size=32),
    codecs=st.sampled_from([("zstd",), ("zstd", "age"), ()]),
)
lists = st.lists(objects, max_size=30, unique_by=lambda item: item.key)


def stored(items: list[ListedObject]) -> bytes:
    """Return a list of ``items`` as a run stores it."""
    return records.to_json(
        ObjectList(schema=SCHEMA, id=RUNS[1], host=HOST, block_bytes=BLOCK_BYTES, objects=tuple(items))
    )


def all_packs(groups: PackGroups) -> ListedPacks:
    return ListedPacks((group, range(len(group))) for group in groups.values())


def pack_list(suffix: str, packs: dict[str, str]) -> PackList:
    return PackList(key=KEY, stored_bytes=1, sha256="0" * 64, suffix=suffix, packs=packs)


@given(lists)
def test_read_packs_finds_the_objects_of_the_list_in_the_order_of_their_keys(
    items: list[ListedObject],
) -> None:
    found = all_packs(read_packs(stored(items), REFERENCE))
    expected = tuple(sorted(map(ListedObject.as_stored, items), key=lambda pack: pack.key))
    assert found == expected
    assert tuple(found) == expected
    assert len(found) == len(expected)
    assert {pack.key for pack in found if pack.blocks_in == REFERENCE} == {i.key for i in items if i.blocks}
    assert {pack.named_in for pack in found} <= {REFERENCE}
    assert sizes_of(found) == sizes_of(expected)


@given(lists.filter(bool))
def test_lists_of_this_release_are_read_in_columns(items: list[ListedObject]) -> None:
    assert pack_list_reader._plain_groups(stored(items), REFERENCE) is not None


def test_list_with_a_field_of_a_later_release_is_read() -> None:
    plain = json.loads(stored([ITEM]))
    plain["objects"][0]["colour"] = {"is": "blue"}
    assert all_packs(read_packs(json.dumps(plain).encode(), REFERENCE)) == (ITEM.as_stored(),)


def test_key_with_zeros_that_no_manifest_can_name_is_left_out() -> None:
    odd = replace(ITEM, key=f"{FOLDERS[0]}{RUNS[0]}-00001.tar.zst")
    assert all_packs(read_packs(stored([odd]), REFERENCE)) == ()


PIECES = (b'"schema": 1', b'"key":', b"{", b"}", b"[", b"]", b",", b'"', b":", b"1", b"-", b"\n", b"true")
LIST = stored([replace(ITEM, key=f"{FOLDERS[0]}{RUNS[0]}-{number}.tar.zst") for number in NUMBERS])


@given(
    st.lists(
        st.tuples(
            st.integers(0, len(LIST)), st.integers(0, 12), st.sampled_from(PIECES) | st.binary(max_size=4)
        ),
        min_size=1,
        max_size=3,
    )
)
@example([(0, 0, b"\xef\xbb\xbf")])
def test_read_packs_of_an_altered_list_decides_as_read_list_does(
    changes: list[tuple[int, int, bytes]],
) -> None:
    data = LIST
    for start, length, new in changes:
        data = data[:start] + new + data[start + length :]
    assert outcome(data, columns=True) == outcome(data, columns=False)


def outcome(data: bytes, *, columns: bool) -> Any:
    """Return the packs in a list that manifests can name, or the error of its reader."""
    try:
        if columns:
            return tuple(all_packs(read_packs(data, REFERENCE)))
        found = map(ListedObject.as_stored, read_list(data, KEY).objects)
    except IntegrityError as error:
        return str(error)
    named = (pack for pack in found if pack_list_reader._KEY_RE.fullmatch(pack.key))
    return tuple(sorted(named, key=lambda pack: pack.key))


@given(items=lists, numbers=st.sets(st.integers(1, 30) | st.integers(9990, 10010), min_size=1, max_size=5))
def test_select_finds_the_wanted_packs_or_names_the_first_that_is_missing(
    items: list[ListedObject], numbers: set[int]
) -> None:
    known = {item.key: item.as_stored() for item in items}
    wanted = pack_list(SUFFIXES[0], dict.fromkeys(RUNS, as_ranges(numbers)))
    groups = read_packs(stored(items), REFERENCE)
    named = list(wanted.pack_keys(FOLDERS[0]))
    if missing := next((key for key in named if key not in known), None):
        with pytest.raises(KeyError) as caught:
            list(select(groups, wanted, FOLDERS[0]))
        assert caught.value.args == (missing,)
    else:
        assert ListedPacks(select(groups, wanted, FOLDERS[0])) == tuple(known[key] for key in sorted(named))


@given(one=lists, other=lists, first=st.integers(0, 20), in_manifest=st.booleans())
def test_packs_that_several_parts_need_count_once(
    one: list[ListedObject], other: list[ListedObject], first: int, in_manifest: bool
) -> None:
    """The other list may describe packs of the first, and a manifest of schema 1 may name packs itself."""
    groups = read_packs(stored(one), REFERENCE)
    more = read_packs(stored([item for item in other if item.sha256 > "8" or item in one]), REFERENCE)
    parts = [
        all_packs(groups),
        ListedPacks((group, range(min(first, len(group)), len(group))) for group in groups.values()),
        all_packs(more),
        tuple(all_packs(groups))[:first] if in_manifest else (),
    ]
    same = {item.key: item.stored_bytes for item in one}
    if any(same.get(item.key, item.stored_bytes) != item.stored_bytes for item in other):
        return  # two lists that contradict each other
    sizes = {pack.key: pack.stored_bytes for part in parts for pack in part}
    assert count_once(parts) == (len(sizes), sum(sizes.values()))


def test_digest_in_capital_letters_is_that_of_the_object() -> None:
    groups = read_packs(stored([replace(ITEM, sha256="AB" * 32)]), REFERENCE)
    (pack,) = all_packs(groups)
    assert pack == replace(ITEM, sha256="AB" * 32).as_stored() == ITEM.as_stored()


def test_listed_packs_behave_as_a_tuple() -> None:
    found = all_packs(read_packs(LIST, REFERENCE))
    assert found[0].key == ITEM.key
    assert found[1:] == tuple(found)[1:]
    assert found == all_packs(read_packs(LIST, REFERENCE))
    assert tuple(found) == found
    assert hash(found) == hash(tuple(found))
    assert repr(found) == repr(tuple(found))
    assert records.to_plain(found) == records.to_plain(tuple(found))
    assert found != list(found)
    assert found != ()
    assert not ListedPacks(())
