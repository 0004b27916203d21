"""The catalog of backups and runs, and the selection for a restore."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage

from igny8_backup.catalog.backups import Catalog
from igny8_backup.catalog.given import Given
from igny8_backup.catalog.select import Selection, select
from igny8_backup.errors import IntegrityError, StorageError, UsageError
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.run_record import SCHEMA as RUN_SCHEMA
from igny8_backup.formats.documents.run_record import RunRecord
from igny8_backup.formats.manifest import COMPLETE, FAILED, SCHEMA, Manifest
from igny8_backup.formats.objects import StoredObject
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.store import Store, open_store

DAWN = datetime(2026, 11, 22, tzinfo=UTC)


def stored(key: str) -> StoredObject:
    return StoredObject(key=key, stored_bytes=1, raw_bytes=1, sha256="0" * 64, codecs=("zstd",))


def backup(hour: int, *, databases: str = "", trees: str = "", failed: str = "", token: str = "") -> Manifest:
    """Return a backup that started at that hour; its parts in ``failed`` are not complete."""
    started = DAWN + timedelta(hours=hour)
    backup_id = keys.make_id(started, token or f"{hour:06x}")
    database_parts = [
        DatabasePart(
            alias=alias,
            engine="postgresql",
            state=FAILED if alias in failed.split() else COMPLETE,
            started=started,
            finished=started,
            object=stored(keys.database_key(backup_id, alias, "dump", ".zst")),
        )
        for alias in databases.split()
    ]
    tree_parts = [
        TreePart(
            name=name,
            role="sites",
            state=FAILED if name in failed.split() else COMPLETE,
            started=started + timedelta(minutes=30),
            finished=started + timedelta(minutes=40),
            index=stored(keys.index_key(backup_id, name, ".zst")),
            folders=stored(keys.folders_key(backup_id, name, ".zst")),
        )
        for name in trees.split()
    ]
    return Manifest(
        schema=SCHEMA,
        id=backup_id,
        host="web-1",
        environment="test",
        label="",
        started=started,
        finished=started,
        requested=(),
        software={},
        details=stored(keys.details_key(backup_id, ".zst")),
        databases=tuple(database_parts),
        trees=tuple(tree_parts),
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(FileSystemStorage(location=tmp_path), "igny8/")


def write(store: Store, *found: Manifest) -> None:
    for manifest in found:
        store.put_small(keys.manifest_key(manifest.id), records.to_json(manifest))


def test_entries_are_sorted_newest_first(store: Store) -> None:
    one, two, three = (backup(hour, databases="default") for hour in (3, 1, 2))
    write(store, one, two, three)
    catalog = Catalog(store)
    assert [entry.id for entry in catalog.entries()] == [one.id, three.id, two.id]
    assert catalog.manifests() == [one, three, two]
    assert catalog.get(two.id) == two


def test_entries_exist_only_with_a_manifest(store: Store) -> None:
    write(store, backup(1))
    orphans = backup(2).id
    store.put_small(keys.details_key(orphans, ".zst"), b"x")
    store.put_small(keys.database_key(orphans, "default", "dump", ".zst"), b"x")
    store.put_small(f"backups/{backup(1).id}-copy/manifest.json", b"{}")
    store.put_small("backups/latest/manifest.json", b"{}")
    assert [entry.id for entry in Catalog(store).entries()] == [backup(1).id]
    with pytest.raises(UsageError, match="list_backups"):
        Catalog(store).get(orphans)


def test_entries_with_damaged_manifest_have_the_reason(store: Store) -> None:
    good, bad, newer = backup(1), backup(2), backup(3)
    write(store, good, replace(newer, schema=SCHEMA + 1))
    store.put_small(keys.manifest_key(bad.id), b'{"schema": 1}')
    first, second, third = Catalog(store).entries()
    assert (first.id, first.manifest) == (newer.id, None) and "pip install --upgrade" in first.problem
    assert (second.id, second.manifest) == (bad.id, None) and "malformed" in second.problem
    assert (third.manifest, third.problem) == (good, "")
    assert Catalog(store).manifests() == [good]
    with pytest.raises(IntegrityError, match=bad.id):
        Catalog(store).get(bad.id)


@pytest.mark.parametrize(
    "backup_id", ["", "latest", "20261122T010000Z", "20261122T010000Z-00000", "../x", "*"]
)
def test_get_finds_complete_ids_only(store: Store, backup_id: str) -> None:
    write(store, backup(1))
    with pytest.raises(UsageError) as caught:
        Catalog(store).get(backup_id)
    assert repr(backup_id) in str(caught.value)
    assert caught.value.exit_status == 2


def test_entries_of_unlistable_storage_raise(tmp_path: Path) -> None:
    store = open_store(FileSystemStorage(location=tmp_path / "not mounted"), "igny8/")
    with pytest.raises(StorageError):
        Catalog(store).entries()


def record(hour: int, task_id: str = "", outcome: str = "complete") -> RunRecord:
    started = DAWN + timedelta(hours=hour)
    token = keys.task_token(task_id) if task_id else f"{hour:06x}"
    return RunRecord(
        schema=RUN_SCHEMA,
        id=keys.make_id(started, token),
        host="web-1",
        environment="test",
        label="",
        requested=(),
        started=started,
        heartbeat=started,
        outcome=outcome,
        task_id=task_id,
    )


def test_run_and_run_of_task_find_records(store: Store) -> None:
    runs = [record(1, "task-a", "stopped"), record(2), record(3, "task-a"), record(4, "task-b")]
    for run in runs:
        store.put_small(keys.run_key(run.id), records.to_json(run))
    store.put_small(keys.run_key(keys.make_id(DAWN, "ffffff")), b"damaged")
    store.put_small("runs/notes.json", b"{}")
    catalog = Catalog(store)
    assert catalog.runs() == list(reversed(runs))
    assert catalog.run(runs[1].id) == runs[1]
    assert catalog.run(keys.make_id(DAWN, "ffffff")) is None
    assert catalog.run(keys.make_id(DAWN, "eeeeee")) is None
    assert catalog.run_of_task("task-a") == runs[2]
    assert catalog.run_of_task("task-c") is None


def test_run_of_task_ignores_other_task_with_same_token(store: Store) -> None:
    impostor = replace(record(1, "task-a"), task_id="task-z")
    store.put_small(keys.run_key(impostor.id), records.to_json(impostor))
    assert Catalog(store).run_of_task("task-a") is None


def chosen(selection: Selection) -> tuple[dict[str, int], dict[str, int]]:
    """Return the hours of the backups that the selected databases and trees come from."""
    databases = {part.alias: manifest.started.hour for manifest, part in selection.databases}
    return databases, {part.name: manifest.started.hour for manifest, part in selection.trees}


def newest_first(*found: Manifest) -> list[Manifest]:
    return sorted(found, key=lambda manifest: manifest.id, reverse=True)


BOTH: dict[str, Any] = {"databases": ("default",), "trees": ("sites",), "host": "web-1"}


def test_select_takes_a_complete_backup_as_one() -> None:
    pool = newest_first(
        backup(1, databases="default", trees="sites"), backup(2, databases="default", trees="sites")
    )
    selection = select(pool, **BOTH)
    assert chosen(selection) == ({"default": 2}, {"sites": 2})
    assert selection.notes == ()


def test_select_prefers_files_of_the_same_id() -> None:
    pool = newest_first(backup(1, databases="default", trees="sites"), backup(2, trees="sites"))
    selection = select(pool, **BOTH)
    assert chosen(selection) == ({"default": 1}, {"sites": 1})
    assert selection.notes == ()


def test_select_takes_first_files_after_the_database() -> None:
    pool = newest_first(
        backup(1, databases="default", trees="sites"),
        backup(2, databases="default", trees="sites", failed="sites"),
        backup(3, trees="sites"),
        backup(4, trees="sites"),
        backup(5, databases="default", failed="default"),
    )
    selection = select(pool, **BOTH)
    assert chosen(selection) == ({"default": 2}, {"sites": 3})
    (note,) = selection.notes
    assert "'sites'" in note and backup(3).id in note and "1 hour 30 minutes after the database" in note


def test_select_takes_newest_files_before_the_database_with_a_note() -> None:
    pool = newest_first(backup(1, trees="sites"), backup(2, trees="sites"), backup(4, databases="default"))
    selection = select(pool, **BOTH)
    assert chosen(selection) == ({"default": 4}, {"sites": 2})
    (note,) = selection.notes
    assert "1 hour 30 minutes BEFORE the database" in note


def test_select_chooses_each_tree_separately() -> None:
    pool = newest_first(
        backup(1, trees="uploads"), backup(2, databases="default", trees="sites uploads", failed="uploads")
    )
    selection = select(pool, databases=("default",), trees=("sites", "uploads"), host="web-1")
    assert chosen(selection) == ({"default": 2}, {"sites": 2, "uploads": 1})
    assert len(selection.notes) == 1


def test_select_takes_all_databases_from_one_backup() -> None:
    pool = newest_first(
        backup(1, databases="default other"),
        backup(2, databases="default other", failed="other"),
        backup(3, databases="default"),
    )
    both = select(pool, databases=("default", "other"), trees=(), host="web-1")
    assert chosen(both) == ({"default": 1, "other": 1}, {})
    assert chosen(select(pool, databases=("default",), trees=(), host="web-1")) == ({"default": 3}, {})


def test_select_files_only_takes_newest_of_each_tree() -> None:
    pool = newest_first(
        backup(1, trees="sites uploads"), backup(2, databases="default"), backup(3, trees="sites")
    )
    selection = select(pool, databases=(), trees=("sites", "uploads"), host="web-1")
    assert chosen(selection) == ({}, {"sites": 3, "uploads": 1})
    assert selection.notes == ()


def test_select_of_two_backups_in_one_second_keeps_one_id() -> None:
    first = backup(1, databases="default", trees="sites", token="000001")
    second = backup(1, databases="default", trees="sites", token="000002")
    (manifest, _), *_ = select(newest_first(first, second), **BOTH).databases
    (source, _), *_ = select(newest_first(first, second), **BOTH).trees
    assert manifest is source is second


def test_select_with_id_takes_only_its_parts() -> None:
    old, new = backup(1, databases="default", trees="sites"), backup(2, databases="default", trees="sites")
    assert chosen(select([old], wanted=Given.one(old), **BOTH)) == ({"default": 1}, {"sites": 1})
    lacking = backup(3, databases="default", trees="sites", failed="sites")
    with pytest.raises(UsageError, match=f"Backup {lacking.id} has no complete copy of the tree 'sites'"):
        select([lacking, new], wanted=Given.one(lacking), **BOTH)
    with pytest.raises(UsageError, match="has no complete copy of default"):
        select([new], wanted=Given.one(backup(4, trees="sites")), **BOTH)


@pytest.mark.parametrize(
    ("pool", "words"),
    [
        ([], "There is no backup"),
        ([backup(1, trees="sites")], "default"),
        ([backup(1, databases="default", trees="sites", failed="default")], "default"),
        ([backup(1, databases="default")], "sites"),
    ],
)
def test_select_missing_part_names_it(pool: list[Manifest], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        select(pool, **BOTH)
    assert "Nothing was changed." in str(caught.value)
    assert caught.value.exit_status == 2


def of_host(host: str, made: Manifest) -> Manifest:
    return replace(made, host=host)


def test_select_takes_trees_of_the_own_host_only() -> None:
    own = backup(1, databases="default", trees="sites")
    other = of_host("web-2", backup(2, databases="default", trees="sites"))
    assert chosen(select([other, own], databases=(), trees=("sites",), host="web-1")) == ({}, {"sites": 1})
    both = select([other, own], **BOTH)
    assert chosen(both) == ({"default": 2}, {"sites": 1})
    assert any("'default' was backed up by another host, web-2" in note for note in both.notes)


def test_select_takes_trees_of_another_host_only_by_name() -> None:
    own = backup(2, databases="default", trees="sites")
    other = of_host("web-2", backup(1, databases="default", trees="sites"))
    named = select([own, other], **BOTH, from_host="web-2")
    assert chosen(named) == ({"default": 1}, {"sites": 1})
    assert any("THOSE OF ANOTHER HOST, web-2. This is web-1" in note for note in named.notes)


@pytest.mark.parametrize("by_id", [False, True])
def test_select_without_trees_of_the_own_host_names_the_option(by_id: bool) -> None:
    other = of_host("web-2", backup(1, databases="default", trees="sites"))
    with pytest.raises(UsageError, match="--from-host web-2") as caught:
        select([other], **BOTH, wanted=Given.one(other) if by_id else None)
    assert "This is host web-1" in str(caught.value)
    assert chosen(select([other], **BOTH, from_host="web-2")) == ({"default": 1}, {"sites": 1})


def test_select_takes_a_shared_database_from_any_host() -> None:
    """The database is backed up by one host only, the files by each."""
    files, both = of_host("web-2", backup(2, trees="sites")), backup(1, databases="default", trees="sites")
    named = select([files, both], **BOTH, from_host="web-2")
    assert chosen(named) == ({"default": 1}, {"sites": 2})


def test_select_takes_files_for_the_time_of_the_data_of_a_standby() -> None:
    """The standby had stopped replaying at half past one, so the files of two o'clock are nearest."""
    newest = backup(4, databases="default", trees="sites")
    stale = replace(newest.databases[0], data_time=DAWN + timedelta(hours=1, minutes=30))
    pool = newest_first(
        backup(1, trees="sites"), backup(2, trees="sites"), replace(newest, databases=(stale,))
    )
    selection = select(pool, **BOTH)
    assert chosen(selection) == ({"default": 4}, {"sites": 2})
    assert any("1 hour after the database" in note for note in selection.notes)


def test_select_from_empty_storage_raises() -> None:
    with pytest.raises(UsageError, match="There is no backup"):
        select([], databases=(), trees=("sites",), host="web-1")
