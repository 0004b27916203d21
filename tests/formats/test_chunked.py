"""Dumps in chunks in manifests, including malicious ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from igny8_backup.databases.dump_streams import archive_names
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys, records
from igny8_backup.formats.chunked import (
    FULL,
    ChunkedArchive,
    ChunkedDump,
    chunk_folder,
    chunk_pack_key,
    index_key,
)
from igny8_backup.formats.lists import PackList, list_key
from igny8_backup.formats.manifest import COMPLETE, SCHEMA, Manifest
from igny8_backup.formats.manifest_reader import read_manifest
from igny8_backup.formats.manifest_schema import schema_of
from igny8_backup.formats.objects import StoredObject
from igny8_backup.formats.parts.database import DatabasePart

ID, EARLIER = "20261122T021500Z-7f3a9c", "20261121T021500Z-000000"
STARTED = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)


def stored(key: str) -> StoredObject:
    return StoredObject(key=key, stored_bytes=5, raw_bytes=7, sha256="0" * 64, codecs=("zstd", "age"))


LIST = PackList(
    key=list_key("web-1", ID, 1),
    stored_bytes=5,
    sha256="0" * 64,
    suffix=".chunks.zst.age",
    packs={EARLIER: "1-2", ID: "1"},
)
CHUNKED = ChunkedDump(kind=FULL, bytes=100, archive_sha256="a" * 64, full_id=EARLIER, full_started=STARTED)
PART = DatabasePart(
    alias="default",
    engine="postgresql",
    state=COMPLETE,
    started=STARTED,
    finished=STARTED,
    object=stored(index_key(ID, "default", ".zst.age")),
    pack_lists=(LIST,),
    chunked=CHUNKED,
)
MANIFEST = Manifest(
    schema=SCHEMA,
    id=ID,
    host="web-1",
    environment="test",
    label="",
    started=STARTED,
    finished=STARTED,
    requested=("default",),
    software={},
    details=stored(keys.details_key(ID, ".zst.age")),
    databases=(PART,),
)


def read(part: DatabasePart) -> DatabasePart:
    data = records.to_json(replace(MANIFEST, databases=(part,)).as_stored())
    (found,) = read_manifest(data, ID).databases
    return found


def test_dump_in_chunks_survives_json() -> None:
    found = read(PART)
    assert found == PART
    assert found.bytes == 100
    assert list(found.pack_keys("web-1")) == [
        chunk_pack_key("web-1", "default", keys.pack_name(EARLIER, 1), ".zst.age"),
        chunk_pack_key("web-1", "default", keys.pack_name(EARLIER, 2), ".zst.age"),
        chunk_pack_key("web-1", "default", keys.pack_name(ID, 1), ".zst.age"),
    ]
    named = replace(MANIFEST, databases=(found,)).named_keys()
    assert {*found.pack_keys("web-1"), LIST.key, PART.dump.key} <= named


def test_dump_in_several_archives_in_chunks_survives_json() -> None:
    names = archive_names(3)
    main, *data = (stored(index_key(ID, "default", ".zst.age", name)) for name in names)
    assert [item.key.rpartition("/")[2] for item in (main, *data)] == [
        f"default.{name}.runs.zst.age" for name in ("main", "data-01", "data-02")
    ]
    archives = tuple(ChunkedArchive(bytes=size, archive_sha256="b" * 64) for size in (20, 3))
    part = replace(PART, object=main, data=tuple(data), chunked=replace(CHUNKED, data=archives))
    found = read(part)
    assert found == part
    assert found.bytes == 123
    assert {item.key for item in (main, *data)} <= {item.key for item in found.objects()}
    assert schema_of([found], []) == 4 and schema_of([PART], []) == 3
    for wrong in (archives[:1], (), (archives[0], replace(archives[1], archive_sha256="x"))):
        with pytest.raises(IntegrityError, match="in its entry about the chunks"):
            read(replace(part, chunked=replace(CHUNKED, data=wrong)))
    whole = stored(keys.database_key(ID, "default", "data-01.dump", ".zst.age"))
    with pytest.raises(IntegrityError, match="cannot have"):
        read(replace(part, data=(whole, data[1])))


def test_keys_of_chunks_cannot_be_those_of_a_tree() -> None:
    folder = chunk_folder("web-1", "default")
    parsed = keys.parse(chunk_pack_key("web-1", "default", keys.pack_name(ID, 1), ".zst.age"))
    assert parsed == keys.Key(kind="chunk", backup_id=ID, name="default", host="web-1")
    assert not keys.is_name(folder.split("/")[2])
    assert keys.pack_of(f"{folder}{ID}-0001.chunks.zst.age") == f"{ID}-0001"
    assert keys.writer(f"{folder}{ID}-0001.chunks.zst.age") == ID


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"object": None}, "without the stored objects"),
        ({"object": stored(keys.database_key(ID, "default", "dump", ".zst.age"))}, "cannot have"),
        ({"object": stored(index_key(EARLIER, "default", ".zst.age"))}, "cannot have"),
        ({"object": stored(index_key(ID, "other", ".zst.age"))}, "cannot have"),
        ({"chunked": None}, "cannot have"),
        ({"chunked": replace(CHUNKED, kind="whole")}, "its entry about the chunks"),
        ({"chunked": replace(CHUNKED, bytes=-1)}, "its entry about the chunks"),
        ({"chunked": replace(CHUNKED, archive_sha256="x")}, "its entry about the chunks"),
        ({"chunked": replace(CHUNKED, full_id="../x")}, "its entry about the chunks"),
        ({"chunked": replace(CHUNKED, differential_id="x")}, "its entry about the chunks"),
        ({"pack_lists": (replace(LIST, suffix=".tar.zst.age"),)}, "cannot have"),
        ({"pack_lists": (replace(LIST, suffix="/../x"),)}, "cannot have"),
        ({"pack_lists": (replace(LIST, packs={ID: "1-999999999"}),)}, "is malformed"),
        ({"pack_lists": (LIST, LIST)}, "twice"),
        ({"pack_lists": (replace(LIST, key=list_key("web-2", ID, 1)),)}, "cannot have"),
        (
            {"pack_lists": (), "packs": (stored(keys.pack_key("web-1", "default", f"{ID}-0001", ".zst")),)},
            "cannot have",
        ),
        (
            {
                "pack_lists": (),
                "packs": (stored(chunk_pack_key("web-1", "other", keys.pack_name(ID, 1), ".zst.age")),),
            },
            "cannot have",
        ),
    ],
)
def test_malicious_manifest_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(IntegrityError, match=message):
        read(replace(PART, **change))


def test_whole_dump_with_packs_is_refused() -> None:
    whole = stored(keys.database_key(ID, "default", "dump", ".zst.age"))
    with pytest.raises(IntegrityError, match="whose dump is not in chunks"):
        read(replace(PART, object=whole, chunked=None))
