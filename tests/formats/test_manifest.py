"""Manifests, details and run records, including malicious ones."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys, records
from igny8_backup.formats.details import DatabaseDetails, Details
from igny8_backup.formats.documents.run_record import RunRecord
from igny8_backup.formats.manifest import COMPLETE, FAILED, SCHEMA, Manifest
from igny8_backup.formats.manifest_reader import read_manifest
from igny8_backup.formats.objects import StoredObject
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.tree import TreePart

ID = "20261122T021500Z-7f3a9c"
OTHER = "20261121T021500Z-000000"
WHEN = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)


def stored(key: str, codecs: tuple[str, ...] = ("zstd", "age")) -> StoredObject:
    return StoredObject(key=key, stored_bytes=10, raw_bytes=30, sha256="0" * 64, codecs=codecs)


DATABASE = DatabasePart(
    alias="default",
    engine="postgresql",
    state=COMPLETE,
    started=WHEN,
    finished=WHEN,
    object=stored(keys.database_key(ID, "default", "dump", ".zst.age")),
)
TREE = TreePart(
    name="uploads",
    role="sites",
    state=COMPLETE,
    started=WHEN,
    finished=WHEN,
    index=stored(keys.index_key(ID, "uploads", ".zst.age")),
    folders=stored(keys.folders_key(ID, "uploads", ".zst.age")),
    packs=(
        stored(keys.pack_key("web-1", "uploads", keys.pack_name(OTHER, 1), ".zst.age")),
        stored(keys.pack_key("web-1", "uploads", keys.pack_name(ID, 1), ".zst.age")),
    ),
)
MANIFEST = Manifest(
    schema=SCHEMA,
    id=ID,
    host="web-1",
    environment="production",
    label="",
    started=WHEN,
    finished=WHEN,
    requested=("default", "uploads"),
    software={"igny8_backup": "0.1.0"},
    details=stored(keys.details_key(ID, ".zst.age")),
    databases=(DATABASE,),
    trees=(TREE,),
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
counts = st.integers(0, 2**62)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Generate manifests that a run could write."""
    suffix = draw(st.sampled_from([".zst", ".zst.age"]))
    codecs = ("zstd", "age") if suffix.endswith("age") else ("zstd",)
    names = draw(st.lists(st.sampled_from(["default", "other", "a_b-c", "Z9"]), max_size=3, unique=True))

    def item(key: str) -> StoredObject:
        size, raw = draw(counts), draw(counts)
        return StoredObject(key=key, stored_bytes=size, raw_bytes=raw, sha256="ab" * 32, codecs=codecs)

    databases = []
    trees = []
    for name in names:
        state = draw(st.sampled_from([COMPLETE, FAILED]))
        whole = state == COMPLETE
        key = keys.database_key(ID, name, draw(st.sampled_from(["dump", "sqlite3"])), suffix)
        databases.append(
            replace(DATABASE, alias=name, state=state, object=item(key) if whole else None, error=draw(texts))
        )
        packs = [
            item(keys.pack_key("web-1", name, keys.pack_name(OTHER, number), suffix))
            for number in range(draw(st.integers(0, 3)))
        ]
        trees.append(
            replace(
                TREE,
                name=name,
                state=state,
                index=item(keys.index_key(ID, name, suffix)) if whole else None,
                folders=item(keys.folders_key(ID, name, suffix)) if whole else None,
                packs=tuple(packs) if whole else (),
                skipped=draw(counts),
            )
        )
    return replace(
        MANIFEST,
        label=draw(texts),
        environment=draw(texts),
        software=draw(st.dictionaries(texts, texts, max_size=2)),
        details=item(keys.details_key(ID, suffix)),
        databases=tuple(databases),
        trees=tuple(trees),
    )


@settings(max_examples=50)
@given(manifests())
def test_read_manifest_returns_what_was_written(manifest: Manifest) -> None:
    data = records.to_json(manifest)
    assert read_manifest(data, ID) == manifest
    assert json.loads(data)["schema"] == SCHEMA
    states = {part.state for part in manifest.databases} | {part.state for part in manifest.trees}
    assert manifest.complete == (FAILED not in states)
    assert manifest.encrypted == manifest.details.key.endswith(".age")
    assert manifest.objects()[0] == manifest.details
    assert manifest.stored_bytes == sum(item.stored_bytes for item in manifest.objects())
    assert len({item.key for item in manifest.objects()}) == len(manifest.objects())


def refused(manifest: Manifest | bytes, complaint: str) -> None:
    data = manifest if isinstance(manifest, bytes) else records.to_json(manifest)
    with pytest.raises(IntegrityError, match=complaint) as caught:
        read_manifest(data, ID)
    assert ID in str(caught.value)


def test_read_manifest_of_other_backup_raises() -> None:
    refused(replace(MANIFEST, id=OTHER), f"is that of another backup, '{OTHER}'")


def test_read_manifest_of_later_release_names_the_upgrade() -> None:
    refused(replace(MANIFEST, schema=SCHEMA + 1), "pip install --upgrade igny8-backup")


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b"1", b'{"schema": 1}', b"\xff"])
def test_read_manifest_of_other_data_raises(data: bytes) -> None:
    refused(data, "manifest of backup")


@pytest.mark.parametrize(
    "change",
    [
        {"databases": (replace(DATABASE, object=None),)},
        {"trees": (replace(TREE, index=None),)},
        {"trees": (replace(TREE, folders=None),)},
    ],
)
def test_read_manifest_complete_part_without_objects_raises(change: dict[str, Any]) -> None:
    refused(replace(MANIFEST, **change), "as complete, without the stored objects")


@pytest.mark.parametrize(
    "key",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "manifest.json",
        "",
        keys.manifest_key(ID),
        keys.run_key(ID),
        keys.details_key(OTHER, ".zst"),
        keys.database_key(OTHER, "default", "dump", ".zst"),
        keys.database_key(ID, "another", "dump", ".zst"),
        keys.pack_key("web-1", "another", keys.pack_name(ID, 1), ".zst"),
        keys.index_key(ID, "another", ".zst"),
        keys.folders_key(ID, "another", ".zst"),
    ],
)
def test_read_manifest_object_in_wrong_place_raises(key: str) -> None:
    foreign = stored(key)
    for change in (
        {"details": foreign},
        {"databases": (replace(DATABASE, object=foreign),)},
        {"trees": (replace(TREE, index=foreign),)},
        {"trees": (replace(TREE, folders=foreign),)},
        {"trees": (replace(TREE, packs=(foreign,)),)},
    ):
        refused(replace(MANIFEST, **change), "which the backup cannot have")


def test_read_manifest_swapped_objects_raise() -> None:
    index, folders, dump = TREE.index, TREE.folders, DATABASE.object
    assert index and folders and dump
    for change in (
        {"details": dump},
        {"databases": (replace(DATABASE, object=index),)},
        {"trees": (replace(TREE, index=folders, folders=index),)},
        {"trees": (replace(TREE, packs=(folders,)),)},
    ):
        refused(replace(MANIFEST, **change), "which the backup cannot have")


def test_details_return_their_databases() -> None:
    known = DatabaseDetails(alias="default", name="igny8", tables=("public.a",))
    details = Details(schema=1, id=ID, secret_key_fingerprint="", databases=(known,))
    assert details.database("default") == known
    with pytest.raises(IntegrityError, match="'other'"):
        details.database("other")
    data = records.to_json(details)
    assert records.from_json(Details, data, name="Details", schema=1) == details


def test_run_record_survives_json() -> None:
    run = RunRecord(
        schema=1,
        id=ID,
        host="web-1",
        environment="test",
        label="before-0042",
        requested=("default",),
        started=WHEN,
        heartbeat=WHEN,
        outcome="failed",
        finished=WHEN,
        errors={"default": "DatabaseError"},
    )
    assert records.from_json(RunRecord, records.to_json(run), name="Run", schema=1) == run
