"""Orphans: objects that no manifest names are found, and nothing else is."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from igny8_backup.errors import StorageError
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.run_record import RunRecord
from igny8_backup.formats.manifest import RUNNING, SCHEMA
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.maintain.orphans import OrphanObject, OrphanReport, find_orphans
from igny8_backup.operations.read.snapshot import take_snapshot

pytestmark = pytest.mark.slow

OTHER = "20200101T000000Z-0000aa"
PACK = keys.pack_key("web-2", "sites", keys.pack_name(OTHER, 1), ".zst")
DUMP = keys.database_key(OTHER, "default", "dump", ".zst")


def backup(context: BackupContext) -> str:
    return run_backup(context, BackupRequest(trees=("sites", "uploads"))).id


def names(found: tuple[OrphanObject, ...]) -> list[str]:
    return [item.key for item in found]


def run_under_way(context: BackupContext) -> RunRecord:
    now = context.clock()
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


def test_find_orphans_sound_storage_finds_none(context: BackupContext) -> None:
    backup(context)
    backup(context)
    assert find_orphans(context) == OrphanReport()


def test_find_orphans_reports_size_and_time(context: BackupContext, tmp_path: Path) -> None:
    backup(context)
    partial = f"{DUMP}.0a1b2c3d.partial"
    stray = {PACK: 3, DUMP: 5, partial: 7, "packs/notes.txt": 2, f"runs/{OTHER}.json.00ff00ff.partial": 4}
    for key, size in stray.items():
        context.store.put_small(key, b"x" * size)
    found = find_orphans(context)
    assert {item.key: item.size for item in found.orphans} == stray
    assert names(found.orphans) == sorted(stray)
    assert all(
        item.modified and abs(context.clock() - item.modified) < timedelta(hours=1) for item in found.orphans
    )
    assert replace(found, orphans=()) == OrphanReport()


def test_find_orphans_lost_manifest_leaves_the_objects_in_doubt(context: BackupContext) -> None:
    backup_id = backup(context)
    rest = [item.key for item in context.catalog.get(backup_id).objects()]
    context.store.delete(keys.manifest_key(backup_id))
    found = find_orphans(context)
    assert names(found.doubtful) == sorted(rest)
    assert found.lost == (backup_id,) and not found.orphans


def test_find_orphans_running_backup_is_in_use_until_its_heartbeat_stops(context: BackupContext) -> None:
    record = run_under_way(context)
    for key in (PACK, f"{DUMP}.0a1b2c3d.partial"):
        context.store.put_small(key, b"x")
    for alive, changed in (
        (True, record),
        (False, replace(record, heartbeat=record.heartbeat - timedelta(minutes=6))),
        (False, replace(record, outcome="failed")),
        (False, replace(record, id=OTHER.replace("aa", "ab"))),
    ):
        context.store.delete(keys.run_key(OTHER))
        context.store.put_small(keys.run_key(changed.id), records.to_json(changed))
        found = find_orphans(context)
        assert names(found.in_use if alive else found.orphans) == [f"{DUMP}.0a1b2c3d.partial", PACK]
        assert (found.orphans if alive else found.in_use) == ()


@pytest.mark.parametrize("harm", ["newer", "no JSON"])
def test_find_orphans_unreadable_manifest_makes_objects_doubtful(context: BackupContext, harm: str) -> None:
    backup_id = backup(context)
    manifest = context.catalog.get(backup_id)
    context.store.put_small(PACK, b"x")
    context.store.put_small(DUMP, b"x")
    newer = {**records.to_plain(manifest), "schema": SCHEMA + 1}
    data = json.dumps(newer) if harm == "newer" else "{"
    context.store.put_small(keys.manifest_key(backup_id), data.encode())
    found = find_orphans(context)
    assert [entry.id for entry in found.unreadable] == [backup_id]
    assert (f"has schema {SCHEMA + 1}" if harm == "newer" else "is not JSON") in found.unreadable[0].problem
    assert names(found.doubtful) == sorted([PACK, *(item.key for item in manifest.objects())])
    assert names(found.orphans) == [DUMP], "the object belongs to the folder of another run"


def test_find_orphans_listing_fails_raises(context: BackupContext, tmp_path: Path) -> None:
    backup(context)
    (tmp_path / "storage").rename(tmp_path / "not mounted")
    with pytest.raises(StorageError, match="does not exist"):
        find_orphans(context)


def test_find_orphans_run_that_began_after_the_listing_is_in_use(context: BackupContext) -> None:
    backup(context)
    snapshot = take_snapshot(context)
    snapshot.catalog.runs()
    context.store.put_small(keys.run_key(OTHER), records.to_json(run_under_way(context)))
    context.store.put_small(DUMP, b"dump")
    found = find_orphans(snapshot)
    assert names(found.in_use) == [DUMP]
    assert found.orphans == () and "web-2" in found.alive_hosts
