"""Lists of packs and blocks, including malicious ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys, records
from igny8_backup.formats.lists import (
    BLOCK_BYTES,
    PACKS_LIMIT,
    SCHEMA,
    ListedObject,
    ObjectList,
    PackList,
    as_ranges,
    blocks_key,
    in_base64,
    list_key,
    read_list,
)
from igny8_backup.formats.objects import ListReference
from igny8_backup.formats.parts.pack_list_reader import read_packs

ID = "20261122T021500Z-7f3a9c"
EARLIER = "20261121T021500Z-000000"
KEY = list_key("web-1", ID, 1)
FOLDER = keys.pack_folder("web-1", "uploads")
PACK = ListedObject(
    key=keys.pack_key("web-1", "uploads", keys.pack_name(EARLIER, 1), ".zst.age"),
    stored_bytes=BLOCK_BYTES + 1,
    raw_bytes=30,
    sha256="0" * 64,
    codecs=("zstd", "age"),
    blocks=in_base64(bytes(64)),
)
LIST = ObjectList(schema=SCHEMA, id=ID, host="web-1", block_bytes=BLOCK_BYTES, objects=(PACK,))


def assert_refused(data: bytes, complaint: str) -> None:
    """Assert that both readers of lists refuse ``data`` with an error that matches ``complaint``."""
    with pytest.raises(IntegrityError, match=complaint):
        read_list(data, KEY)
    with pytest.raises(IntegrityError, match=complaint):
        read_packs(data, ListReference(key=KEY, stored_bytes=len(data), sha256="0" * 64))


def pack_list(packs: dict[str, str]) -> PackList:
    return PackList(key=KEY, stored_bytes=1, sha256="0" * 64, suffix=".tar.zst.age", packs=packs)


def test_list_survives_json() -> None:
    assert read_list(records.to_json(LIST), KEY) == LIST
    assert PACK.digests() == bytes(64)


@given(st.sets(st.integers(1, 2000), min_size=1))
def test_pack_keys_are_those_that_the_ranges_number(numbers: set[int]) -> None:
    found = list(pack_list({ID: as_ranges(numbers)}).pack_keys(FOLDER))
    assert found == [f"{FOLDER}{ID}-{number:04d}.tar.zst.age" for number in sorted(numbers)]


def test_pack_keys_of_earlier_runs_come_first() -> None:
    found = list(pack_list({ID: "1", EARLIER: "2-3"}).pack_keys(FOLDER))
    assert [keys.pack_of(key) for key in found] == [f"{EARLIER}-0002", f"{EARLIER}-0003", f"{ID}-0001"]


@pytest.mark.parametrize(
    "numbers",
    [
        "",
        "0",
        "-1",
        "1-",
        "2-1",
        "1,1",
        "2,1",
        "1-3,3",
        "1 ",
        "x",
        "١",
        "1\n",
        f"1-{PACKS_LIMIT + 1}",
        "1-999999999",
    ],
)
def test_pack_keys_of_malformed_or_huge_numbers_raise(numbers: str) -> None:
    with pytest.raises(ValueError, match=r"number packs|more than \d+ packs"):
        list(pack_list({ID: numbers}).pack_keys(FOLDER))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"id": EARLIER}, "it is that of run"),
        ({"host": "web-2"}, "it is that of run"),
        ({"block_bytes": 1}, "its blocks have 1 bytes"),
        ({"block_bytes": True}, "block_bytes is not int"),
        ({"block_bytes": float(BLOCK_BYTES)}, "block_bytes is not int"),
        ({"schema": True}, "schema is not int"),
        ({"objects": [PACK, PACK]}, "holds an object twice"),
        ({"objects": {}}, "objects is not a list"),
        ({"schema": 2}, "pip install --upgrade igny8-backup"),
    ],
)
def test_read_list_of_another_run_or_malformed_is_refused(change: dict[str, Any], complaint: str) -> None:
    plain = {**records.to_plain(LIST), **records.to_plain(change)}
    assert_refused(json.dumps(plain).encode(), complaint)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"key": keys.pack_key("web-2", "uploads", keys.pack_name(ID, 1), ".zst")}, "does not belong there"),
        ({"key": keys.details_key(ID, ".zst")}, "does not belong there"),
        ({"key": KEY}, "does not belong there"),
        ({"key": f"{FOLDER}../{ID}-0001.tar.zst"}, "does not belong there"),
        ({"key": f"{PACK.key}\n"}, "does not belong there"),
        ({"key": ""}, "does not belong there"),
        ({"stored_bytes": -1}, "malformed"),
        ({"stored_bytes": 2**63}, "more than 64 bits"),
        ({"stored_bytes": 2**62}, "sizes or digests"),
        ({"raw_bytes": -1}, "sizes or digests"),
        ({"sha256": "0" * 63}, "sizes or digests"),
        ({"sha256": "0" * 64 + "\n"}, "sizes or digests"),
        ({"blocks": "AAAA"}, "sizes or digests"),
        ({"blocks": "\u00e9"}, "sizes or digests"),
        ({"blocks": in_base64(bytes(96))}, "sizes or digests"),
        ({"codecs": "zstd"}, "codecs is not a list"),
    ],
)
def test_read_list_with_a_hostile_object_is_refused(change: dict[str, Any], complaint: str) -> None:
    plain = records.to_plain(LIST)
    plain["objects"][0] |= change
    assert_refused(json.dumps(plain).encode(), complaint)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"schema": 1', b'"schema": 1, "schema": 1'),
        (b'"schema": 1', b'"schema": 1, "new": NaN'),
        (b'"raw_bytes": 30', b'"raw_bytes": 30, "raw_bytes": 31'),
        (b'"raw_bytes": 30', b'"raw_bytes": 30, "raw\\u005fbytes" : 31'),
    ],
)
def test_read_list_that_readers_understand_differently_is_refused(old: bytes, new: bytes) -> None:
    assert_refused(records.to_json(LIST).replace(old, new), "the same name twice|contains NaN")


def test_list_of_blocks_holds_objects_of_its_own_backup_only() -> None:
    own = {**records.to_plain(PACK), "key": keys.database_key(ID, "default", "dump", ".zst")}
    plain = {**records.to_plain(LIST), "objects": [own]}
    key = blocks_key(ID)
    assert read_list(json.dumps(plain).encode(), key).objects[0].key == own["key"]
    for other in (PACK.key, keys.database_key(EARLIER, "default", "dump", ".zst"), keys.manifest_key(ID)):
        own["key"] = other
        with pytest.raises(IntegrityError, match="does not belong there"):
            read_list(json.dumps(plain).encode(), key)
