"""The pages on the storage format list every field of the records, and no other."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from igny8_backup import journal
from igny8_backup.catalog import known_manifests
from igny8_backup.chunks import chunk_map, cutter, full_tries, runs, try_log
from igny8_backup.formats import (
    acceptance,
    chunked,
    comparison,
    details,
    keys,
    lists,
    manifest,
    objects,
    source,
)
from igny8_backup.formats.documents import annotations as notes
from igny8_backup.formats.documents import (
    claims,
    copy_document,
    fleet,
    fleet_restore,
    retirement,
    run_record,
    spot_check,
)
from igny8_backup.formats.key_patterns import KINDS
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.packed import PackedPart
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.formats.record_types import is_required, stored_fields
from igny8_backup.operations.backup.trees import local_index
from igny8_backup.operations.history import seen, storage_memory, table_counts
from igny8_backup.operations.rotate import journal as rotation
from igny8_backup.operations.verify import older_packs
from igny8_backup.trees.index import index
from igny8_backup.trees.model.records import Record, from_json, to_json
from igny8_backup.trees.swap.plan import SwapPlan
from igny8_backup.trees.swap.target import SwapTarget
from tests.docs.pages import blocks, page, pages, section

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

TEXT = page("reference/storage-format") + pages("reference/stored-")

DATACLASSES = {
    "Manifest fields": manifest.Manifest,
    "StoredObject": objects.StoredObject,
    "ListReference": objects.ListReference,
    "PackList": lists.PackList,
    "ObjectList": lists.ObjectList,
    "ListedObject": lists.ListedObject,
    "DatabasePart": DatabasePart,
    "TreePart": TreePart,
    "Source": source.Source,
    "Line": rotation.Line,
    "ChunkedDump": chunked.ChunkedDump,
    "IndexHeader": runs.IndexHeader,
    "CutterIdentity": cutter.CutterIdentity,
    "MapHeader": chunk_map.MapHeader,
    "MapPack": chunk_map.MapPack,
    "TryHeader": try_log.TryHeader,
    "FullTries": full_tries.FullTries,
    "LastShare": older_packs.LastShare,
    "LocalIndex": local_index.LocalIndex,
    "LargeTar": local_index.LargeTar,
    "Expected": comparison.Expected,
    "Baseline": comparison.Baseline,
    "Details fields": details.Details,
    "DatabaseDetails": details.DatabaseDetails,
    "Probe": details.Probe,
    "DatabaseSetting": details.DatabaseSetting,
    "SchemaAccess": details.SchemaAccess,
    "Privilege": details.Privilege,
    "TreeDetails": details.TreeDetails,
    "NewlyExcluded": details.NewlyExcluded,
    "Skipped": details.Skipped,
    "RunRecord": run_record.RunRecord,
    "Claim": claims.Claim,
    "Pin": notes.Pin,
    "Check": notes.Check,
    "CheckedPart": notes.CheckedPart,
    "StorageMarker": notes.StorageMarker,
    "Memory": storage_memory.Memory,
    "SeenAnnotations": seen.SeenAnnotations,
    "ManifestMemory": known_manifests.ManifestMemory,
    "Damage": notes.Damage,
    "DamageRecord": notes.DamageRecord,
    "ObjectDamage": notes.ObjectDamage,
    "Acceptance": acceptance.Acceptance,
    "AcceptedPart": acceptance.AcceptedPart,
    "JudgedPart": acceptance.JudgedPart,
    "Release": notes.Release,
    "SpotCheck": spot_check.SpotCheck,
    "SpotFinding": spot_check.SpotFinding,
    "TableCounts": table_counts.TableCounts,
    "Removal": notes.Removal,
    "Retirement": retirement.Retirement,
    "CopyDocument": copy_document.CopyDocument,
    "FleetRecord": fleet.FleetRecord,
    "FleetPart": fleet.FleetPart,
    "Marks fields": notes.Marks,
    "Mark": notes.Mark,
    "Journal": journal.Journal,
    "FleetRestore": fleet_restore.FleetRestore,
    "HostRestore": fleet_restore.HostRestore,
    "Replaced": fleet_restore.Replaced,
    "HostRestored": fleet_restore.HostRestored,
    "DatabaseSwap": journal.DatabaseSwap,
    "TreeSwap": journal.TreeSwap,
    "SwapPlan": SwapPlan,
}


def fields_of(heading: str) -> dict[str, bool]:
    """Return the fields in the table below a heading, and whether each is marked as always there."""
    found: dict[str, bool] = {}
    for row in section(TEXT, f"### {heading}").splitlines():
        if row.startswith("| `"):
            cell = row.split("|")[1]
            found |= {name: bool(star) for name, star in re.findall(r"`(\w+)`( \*)?", cell)}
    return found


@pytest.mark.parametrize(("heading", "kind"), DATACLASSES.items(), ids=DATACLASSES)
def test_storage_format_lists_every_field_of_a_record(heading: str, kind: type[DataclassInstance]) -> None:
    assert fields_of(heading) == {field.name: is_required(field) for field in stored_fields(kind)}


def test_storage_format_describes_every_record() -> None:
    described = {*DATACLASSES.values(), notes.Annotations}  # the last is never written
    for module in (lists, manifest, journal, notes, objects):
        own = {value for value in vars(module).values() if dataclasses.is_dataclass(value)} - {
            SwapTarget,
            PackedPart,
        }
        assert own <= described


def test_storage_format_lists_every_field_of_the_index() -> None:
    common: dict[str, Any] = {"path": b"a", "mode": 0, "uid": 0, "gid": 0, "user": "", "group": "", "size": 0}
    times: dict[str, Any] = {"mtime_ns": 0, "ctime_ns": 0, "inode": 0, "xattrs": (("user.x", b"y"),)}
    written: set[str] = set()
    kinds = set(
        re.findall(
            r"`(\w+)`",
            section(TEXT, "### Index record").split("| `kind` |")[1].split("\n")[0],
        )
    )
    for kind in kinds:
        record = Record(
            kind=kind, sha256="0" * 64, pack="p", target=b"A", racy=True, member=b"m", **common, **times
        )
        fields = to_json(record)
        written |= fields.keys()
        assert from_json(fields).kind == kind
    assert written == fields_of("Index record").keys()


def test_storage_format_example_of_an_index_can_be_read() -> None:
    (example,) = [text for text in blocks(TEXT, "json") if "igny8_backup index" in text]
    (record,) = index.read(block for block in [example.encode()])
    assert (record.path, record.kind) == (b"", "dir")
    assert json.loads(example.splitlines()[0]) == index.HEADER


def test_storage_format_layout_has_every_kind_of_key() -> None:
    layout = blocks(TEXT, "text")[0]
    example = {
        "ID": "20261122T021500Z-7f3a9c",
        "ALIAS": "default",
        "TREE": "uploads",
        "HOST": "web-1",
        "NNNN": "0001",
        "STAMP": "20261123T040000Z",
        "DEPTH": "stored",
        "DIGEST": "0" * 32,
    }
    kinds = set()
    for line in layout.splitlines():
        key = re.sub(
            r"\b(ID|ALIAS|TREE|HOST|NNNN|STAMP|DEPTH|DIGEST)\b",
            lambda match: example[match[1]],
            line.split()[0],
        )
        parsed = keys.parse(key)
        assert parsed is not None, key
        kinds.add(parsed.kind)
    assert kinds == set(KINDS)


def test_storage_format_names_the_schemas_in_use() -> None:
    assert f"now `{manifest.SCHEMA}` for the manifest and `{details.SCHEMA}` for the other files" in TEXT
    assert details.SCHEMA == run_record.SCHEMA == lists.SCHEMA == 1
    assert f"| `schema` * | `{journal.SCHEMA}`;" in TEXT
    assert notes.SCHEMA == 1


def test_storage_format_lists_every_outcome_and_phase() -> None:
    text = TEXT
    outcomes = {manifest.COMPLETE, manifest.FAILED, manifest.INCOMPLETE, manifest.RUNNING, manifest.STOPPED}
    outcomes |= run_record.NOT_DONE
    phases = {journal.PREPARING, journal.SWAPPING, journal.DONE, journal.UNDOING, journal.UNDONE}
    phases |= {journal.REDOING, journal.READY}
    for field, words in (("`outcome` *", outcomes), ("`phase` *", phases)):
        (row,) = [line for line in text.splitlines() if line.startswith(f"| {field}")]
        assert set(re.findall(r"`(\w+)`", row.split("|")[2])) == words
