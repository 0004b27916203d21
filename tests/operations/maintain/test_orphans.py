"""What lies in storage under no manifest is found, and nothing else is taken for it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from igny8_backup.errors import StorageError
from igny8_backup.formats import keys, records
from igny8_backup.formats.manifest import RUNNING, RunRecord
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import Toolkit
from igny8_backup.operations.maintain.orphans import LitterReport, Loose, find_litter

OTHER = "20200101T000000Z-0000aa"
PACK = keys.pack_key("web-2", "sites", keys.pack_name(OTHER, 1), ".zst")
DUMP = keys.database_key(OTHER, "default", "dump", ".zst")


def backup(kit: Toolkit) -> str:
    return run_backup(kit, BackupRequest(trees=("sites", "uploads"))).id


def names(found: tuple[Loose, ...]) -> list[str]:
    return [item.key for item in found]


def run_under_way(kit: Toolkit) -> RunRecord:
    now = kit.clock()
    return RunRecord(
        schema=1,
        id=OTHER,
        host="web-2",
        environment="test",
        label="",
        requested=("sites",),
        started=now,
        heartbeat=now,
        outcome=RUNNING,
    )


def test_what_a_manifest_names_and_records_of_runs_are_no_litter(kit: Toolkit) -> None:
    backup(kit)
    backup(kit)
    assert find_litter(kit) == LitterReport()


def test_what_no_manifest_names_is_told_with_its_size_and_time(kit: Toolkit, tmp_path: Path) -> None:
    backup(kit)
    partial = f"{DUMP}.0a1b2c3d.partial"
    stray = {PACK: 3, DUMP: 5, partial: 7, "packs/notes.txt": 2, f"runs/{OTHER}.json.00ff00ff.partial": 4}
    for key, size in stray.items():
        kit.store.put_small(key, b"x" * size)
    found = find_litter(kit)
    assert {item.key: item.size for item in found.litter} == stray
    assert names(found.litter) == sorted(stray)
    assert all(
        item.modified and abs(kit.clock() - item.modified) < timedelta(hours=1) for item in found.litter
    )
    assert replace(found, litter=()) == LitterReport()


def test_a_backup_that_loses_its_manifest_is_litter(kit: Toolkit) -> None:
    backup_id = backup(kit)
    rest = [item.key for item in kit.catalog.get(backup_id).objects()]
    kit.store.delete(keys.manifest_key(backup_id))
    assert names(find_litter(kit).litter) == sorted(rest)


def test_what_a_run_is_writing_is_in_use_until_its_heart_stops(kit: Toolkit) -> None:
    record = run_under_way(kit)
    for key in (PACK, f"{DUMP}.0a1b2c3d.partial"):
        kit.store.put_small(key, b"x")
    for alive, changed in (
        (True, record),
        (False, replace(record, heartbeat=record.heartbeat - timedelta(minutes=6))),
        (False, replace(record, outcome="failed")),
        (False, replace(record, id=OTHER.replace("aa", "ab"))),
    ):
        kit.store.delete(keys.run_key(OTHER))
        kit.store.put_small(keys.run_key(changed.id), records.to_json(changed))
        found = find_litter(kit)
        assert names(found.in_use if alive else found.litter) == [f"{DUMP}.0a1b2c3d.partial", PACK]
        assert (found.litter if alive else found.in_use) == ()


@pytest.mark.parametrize("harm", ["newer", "no JSON"])
def test_beside_a_manifest_that_cannot_be_read_nothing_is_called_litter_that_it_may_name(
    kit: Toolkit, harm: str
) -> None:
    backup_id = backup(kit)
    manifest = kit.catalog.get(backup_id)
    kit.store.put_small(PACK, b"x")
    kit.store.put_small(DUMP, b"x")
    newer = {**records.to_plain(manifest), "schema": 2}
    data = json.dumps(newer) if harm == "newer" else "{"
    kit.store.put_small(keys.manifest_key(backup_id), data.encode())
    found = find_litter(kit)
    assert [entry.id for entry in found.unreadable] == [backup_id]
    assert ("has schema 2" if harm == "newer" else "is not JSON") in found.unreadable[0].problem
    assert names(found.doubtful) == sorted([PACK, *(item.key for item in manifest.objects())])
    assert names(found.litter) == [DUMP], "the folder of another run is not its concern"


def test_a_storage_that_cannot_be_listed_has_no_litter_to_tell_of(kit: Toolkit, tmp_path: Path) -> None:
    backup(kit)
    (tmp_path / "storage").rename(tmp_path / "not mounted")
    with pytest.raises(StorageError, match="does not exist"):
        find_litter(kit)
