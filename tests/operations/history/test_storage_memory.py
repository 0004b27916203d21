"""A host remembers its backups: a storage that no longer has them is reported until somebody accepts it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from django.core.files.storage import FileSystemStorage

from igny8_backup.errors import UsageError
from igny8_backup.formats import keys, records
from igny8_backup.operations.backup.request import BackupRequest, BackupResult
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.storage_memory import find_lost, forget
from igny8_backup.operations.maintain.accept import accept_loss
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.monitor.run import monitor
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify_backups
from igny8_backup.store import open_store
from tests.operations.clocks import Clock, by_clock
from tests.operations.conftest import Notes

pytestmark = pytest.mark.slow


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def nightly(context: BackupContext, clock: Clock) -> BackupContext:
    return by_clock(context, clock)


def night(context: BackupContext) -> BackupResult:
    clock = context.clock
    assert isinstance(clock, Clock)
    clock.forward(days=1)
    return run_backup(context, BackupRequest(trees=("sites", "uploads")))


def lost(context: BackupContext) -> list[str]:
    return [item.id for item in find_lost(context)]


def monitored(context: BackupContext) -> bool:
    """Whether the monitor finds every backup of this host in storage."""
    (condition,) = [item for item in monitor(context).conditions if item.name == "lost"]
    return condition.ok


def unmounted(context: BackupContext, tmp_path: Path) -> BackupContext:
    """The disk of the storage is not mounted: its mount point is an empty folder."""
    (tmp_path / "storage").rename(tmp_path / "disk")
    (tmp_path / "storage").mkdir()
    return context


def vanished(context: BackupContext, tmp_path: Path) -> BackupContext:
    (tmp_path / "storage").rename(tmp_path / "disk")
    return context


def other_bucket(context: BackupContext, tmp_path: Path) -> BackupContext:
    store = open_store(FileSystemStorage(location=tmp_path / "other"), "igny8/")
    return replace(context, store=store, own_store=store)


def other_prefix(context: BackupContext, tmp_path: Path) -> BackupContext:
    store = open_store(FileSystemStorage(location=tmp_path / "storage"), "igny9/")
    return replace(context, store=store, own_store=store)


def emptied_runs_kept(context: BackupContext, tmp_path: Path) -> BackupContext:
    shutil.rmtree(tmp_path / "storage/igny8/backups")
    return context


CHANGES = [unmounted, vanished, other_bucket, other_prefix, emptied_runs_kept]


@pytest.mark.parametrize("change", CHANGES)
def test_backup_into_a_storage_without_the_last_backup_is_stored_and_reported(
    nightly: BackupContext, tmp_path: Path, change: Callable[[BackupContext, Path], BackupContext]
) -> None:
    before = night(nightly)
    assert before.complete and not lost(nightly)
    changed = change(nightly, tmp_path)
    notes = changed.progress
    assert isinstance(notes, Notes)
    notes.texts.clear()
    for _ in range(3):
        result = night(changed)
        assert result.manifest and not result.complete, "better in the wrong place than nowhere"
        assert any(f"LOST: Backup {before.id}" in line for line in result.problems(9))
        assert f"WARNING: Backup {before.id}" in "\n".join(notes.texts)
        assert lost(changed) == [before.id], "until somebody accepts it"
        assert not monitored(changed)
    pruned = prune(changed)
    assert not pruned.complete and before.id in "\n".join(pruned.problems())
    assert not verify_backups(changed, VerifyRequest()).complete
    assert forget(changed, [before.id]) == (before.id,)
    assert not lost(changed) and not find_lost(changed)


def test_storage_that_is_mounted_again_is_no_longer_reported(nightly: BackupContext, tmp_path: Path) -> None:
    first = night(nightly)
    unmounted(nightly, tmp_path)
    hidden = night(nightly)
    assert lost(nightly) == [first.id]
    shutil.rmtree(tmp_path / "storage")
    (tmp_path / "disk").rename(tmp_path / "storage")
    assert lost(nightly) == [hidden.id], "the backup in the wrong place is gone now"
    forget(nightly, [hidden.id])
    assert not lost(nightly) and night(nightly).complete


def test_two_storages_in_turn_are_accepted_once(nightly: BackupContext, tmp_path: Path) -> None:
    """A weekly backup to another disk is reported the first time only, once it was accepted."""
    first = night(nightly)
    disk = other_bucket(nightly, tmp_path)
    assert [item.id for item in night(disk).lost] == [first.id]
    forget(disk, [first.id])
    for context in (nightly, disk, nightly, disk):
        assert night(context).complete


def test_accepted_before_the_first_backup_into_a_new_storage(nightly: BackupContext, tmp_path: Path) -> None:
    first = night(nightly)
    disk = other_bucket(nightly, tmp_path)
    assert lost(disk) == [first.id]
    assert forget(disk, [first.id, "20200101T000000Z-0000aa"]) == (first.id,)
    assert not lost(disk) and night(disk).complete
    assert night(nightly).complete, "the other storage is still watched"


def test_storage_at_another_address_is_recognized(nightly: BackupContext, tmp_path: Path) -> None:
    night(nightly)
    shutil.copytree(tmp_path / "storage", tmp_path / "other")
    assert night(other_bucket(nightly, tmp_path)).complete


def test_lost_state_dir_reports_nothing(nightly: BackupContext, tmp_path: Path) -> None:
    night(nightly)
    shutil.rmtree(nightly.config.state_dir)
    other = other_bucket(nightly, tmp_path)
    assert night(other).complete and monitored(other)


@pytest.mark.parametrize("content", [b"", b"{", b'{"schema": 1, "storage": "x", "last": "../x"}', b"\xff"])
def test_damaged_memory_reports_nothing_and_is_replaced(nightly: BackupContext, content: bytes) -> None:
    night(nightly)
    (memory,) = (nightly.config.state_dir / "storages").iterdir()
    memory.write_bytes(content)
    assert not lost(nightly) and night(nightly).complete
    assert json.loads(memory.read_bytes())["last"] and memory.stat().st_mode & 0o777 == 0o600


def test_backup_pruned_by_another_host_is_not_lost(nightly: BackupContext) -> None:
    first = night(nightly)
    run = nightly.catalog.run(first.id)
    assert run
    pruned = replace(run, pruned=nightly.clock())
    nightly.store.put_small(keys.run_key(first.id), records.to_json(pruned))
    nightly.store.delete(keys.manifest_key(first.id))
    assert not lost(nightly) and night(nightly).complete


def test_storage_marker_is_written_once_and_names_the_reason(nightly: BackupContext, tmp_path: Path) -> None:
    first = night(nightly)
    marker = tmp_path / "storage/igny8" / keys.MARKER
    content = marker.read_bytes()
    night(nightly)
    other = replace(nightly, config=replace(nightly.config, host="web-2", state_dir=tmp_path / "state-2"))
    night(other)
    assert marker.read_bytes() == content and json.loads(content)["host"] == "web-1"
    assert not [item for item in prune(nightly).waiting if item.key == keys.MARKER]
    newest = night(nightly).id
    nightly.store.delete(keys.manifest_key(newest))
    (found,) = find_lost(nightly)
    assert "prune_backups did not remove it" in found.text
    marker.write_bytes(content.replace(b'"id": "', b'"id": "0'))
    assert "another storage" in find_lost(nightly)[0].text
    marker.unlink()
    assert "not mounted" in find_lost(nightly)[0].text
    assert first.id != newest


def test_loss_seen_by_the_host_is_reported_by_other_machines(nightly: BackupContext, tmp_path: Path) -> None:
    first = night(nightly)
    disk = other_bucket(nightly, tmp_path)
    watcher = replace(disk, config=replace(disk.config, host="watcher", state_dir=tmp_path / "none"))
    night(disk)
    assert not monitored(watcher)
    forget(disk, [first.id])
    night(disk)
    assert monitored(watcher)


def test_accept_loss_ends_every_report(nightly: BackupContext, tmp_path: Path) -> None:
    first, second = night(nightly), night(nightly)
    with pytest.raises(UsageError, match="is not gone"):
        accept_loss(nightly, second.id)
    with pytest.raises(UsageError, match="Neither this host nor a run record"):
        accept_loss(nightly, "20200101T000000Z-0000aa")
    for gone in (first, second):
        nightly.store.delete(keys.manifest_key(gone.id))
    third = night(nightly)
    assert [item.id for item in third.lost] == [second.id], "the run record of the first shows its loss"
    verified = verify_backups(nightly, VerifyRequest())
    assert verified.damaged and len(verified.lost) == 2 and not verified.remembered
    for gone in (first, second):
        assert not monitored(nightly)
        accept_loss(nightly, gone.id)
    assert monitored(nightly) and verify_backups(nightly, VerifyRequest()).complete
    assert night(nightly).complete


def test_memory_that_cannot_be_written_is_noted(nightly: BackupContext) -> None:
    (nightly.config.state_dir).mkdir(exist_ok=True)
    (nightly.config.state_dir / "storages").write_text("in the way")
    assert night(nightly).complete
    notes = nightly.progress
    assert isinstance(notes, Notes)
    assert any("so a loss of the backup would not be noticed" in text for text in notes.texts)
