"""Pruning removes completely, in an order that survives interruptions, and touches nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.catalog.annotations import read_annotations, read_marks
from igny8_backup.errors import LockedError, StorageError, UsageError
from igny8_backup.formats import keys, records
from igny8_backup.formats.manifest import RUNNING, Manifest
from igny8_backup.formats.objects import StoredObject
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext, open_context
from igny8_backup.operations.maintain.pin import pin, unpin
from igny8_backup.operations.maintain.pruning.prune import PruneResult, prune
from igny8_backup.retention.rules import Policy
from tests.operations.clocks import Clock, by_clock
from tests.operations.conftest import Notes
from tests.operations.nights import running
from tests.operations.storages import FailsToDelete, KeepsManifests

pytestmark = pytest.mark.slow

DEAD = "20260801T000000Z-0000aa"
PACK = keys.pack_key("web-2", "sites", keys.pack_name(DEAD, 1), ".zst")
DUMP = keys.database_key(DEAD, "default", "dump", ".zst")
LAST = Policy(last=1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def nightly(context: BackupContext, clock: Clock) -> BackupContext:
    """A context with a settable clock and a policy that keeps one backup."""
    return by_clock(replace(context, config=replace(context.config, retention=LAST)), clock)


def backup(context: BackupContext, *trees: str) -> str:
    """Make a full backup, which shares no pack with another; return its id."""
    request = BackupRequest(trees=trees or ("sites", "uploads"), full=True)
    return run_backup(context, request).id


def nights(context: BackupContext, clock: Clock, number: int) -> list[str]:
    """Make a backup each night; return their ids, oldest first. Afterwards it is the next morning."""
    made = []
    for _ in range(number):
        clock.forward(days=1)
        made.append(backup(context))
    return made


def ids(context: BackupContext) -> list[str]:
    return [entry.id for entry in reversed(context.catalog.entries())]


def stored(context: BackupContext) -> set[str]:
    """All keys except those of the records of runs and removals."""
    return {item.key for item in context.store.list() if not item.key.startswith((keys.RUNS, keys.REMOVED))}


def named(*manifests: Manifest) -> set[str]:
    """The keys of the manifests and of everything that they name."""
    found = {keys.manifest_key(manifest.id) for manifest in manifests}
    return found | {item.key for manifest in manifests for item in manifest.objects()}


def packs(manifest: Manifest) -> set[str]:
    return {pack.key for tree in manifest.trees for pack in tree.packs}


def shared(manifest: Manifest) -> set[str]:
    """The keys of the packs of a backup and of the lists that name them."""
    return packs(manifest) | {item.key for tree in manifest.trees for item in tree.lists()}


def swept(result: PruneResult) -> set[str]:
    return {item.key for item in result.swept}


def test_prune_removes_a_backup_at_once_and_its_packs_later(nightly: BackupContext, clock: Clock) -> None:
    first, second, third = nights(nightly, clock, 3)
    gone = [nightly.catalog.get(first), nightly.catalog.get(second)]
    kept = nightly.catalog.get(third)
    before = stored(nightly)
    planned = prune(nightly, dry_run=True)
    assert planned.removed == (first, second)
    assert stored(nightly) == before and nightly.catalog.run(first).pruned is None  # type: ignore[union-attr]  # it was written before

    result = prune(nightly)
    assert result.removed == (first, second) and result.complete and not result.swept
    waiting = shared(gone[0]) | shared(gone[1])
    assert {item.key for item in result.waiting} == waiting and len(waiting) == 6
    assert stored(nightly) == named(kept) | waiting | {keys.MARKS}
    assert ids(nightly) == [third]
    run = nightly.catalog.run(first)
    assert run and run.pruned

    clock.forward(hours=19)
    assert not prune(nightly).swept, "too early"
    clock.forward(hours=1)
    assert swept(prune(nightly, dry_run=True)) == waiting <= stored(nightly)
    assert swept(prune(nightly)) == waiting
    assert stored(nightly) == named(kept)
    again = prune(nightly)
    assert not (again.removed or again.swept or again.waiting) and again.complete


def share(context: BackupContext, clock: Clock, source: Manifest) -> Manifest:
    """Write a later backup that needs the packs of ``source``, as an incremental one does."""
    later = keys.make_id(clock(), "abcdef")

    def moved(item: StoredObject) -> StoredObject:
        key = item.key.replace(source.id, later)
        context.store.put(key, context.store.open(item.key))
        return replace(item, key=key)

    trees = tuple(
        replace(tree, index=moved(tree.index), folders=moved(tree.folders))
        for tree in source.trees
        if tree.index and tree.folders
    )
    made = replace(source, id=later, started=clock(), details=moved(source.details), trees=trees)
    context.store.put_small(keys.manifest_key(later), records.to_json(made))
    return made


def test_prune_pack_needed_by_a_later_backup_stays(nightly: BackupContext, clock: Clock) -> None:
    (first,) = nights(nightly, clock, 1)
    old = nightly.catalog.get(first)
    clock.forward(days=1)
    new = share(nightly, clock, old)
    for _ in range(3):
        result = prune(nightly)
        assert not result.swept and not result.waiting
        clock.forward(hours=21)
    assert stored(nightly) == named(new) and packs(new) == packs(old)


def test_prune_marked_pack_reused_later_stays(nightly: BackupContext, clock: Clock) -> None:
    first, _ = nights(nightly, clock, 2)
    old = nightly.catalog.get(first)
    copies = {item.key: b"".join(nightly.store.open(item.key)) for item in old.objects()}
    assert len(prune(nightly).waiting) == 3
    clock.forward(hours=21)
    for key in copies.keys() - shared(old):
        nightly.store.put_small(key, copies[key])
    new = share(nightly, clock, old)
    for key in copies.keys() - shared(old):
        nightly.store.delete(key)
    result = prune(nightly)
    assert not swept(result) & shared(new)
    assert named(new) <= stored(nightly)
    assert not {mark.key for mark in read_marks(nightly.store)} & shared(new), "the grace period starts again"


def test_prune_newest_run_failed_keeps_the_part(
    nightly: BackupContext, clock: Clock, trees: tuple[Path, Path]
) -> None:
    made = nights(nightly, clock, 2)
    sites, uploads = trees
    clock.forward(hours=1)
    only_uploads = [backup(nightly, "uploads") for _ in range(2)]
    sites.rename(sites.with_name("away"))
    clock.forward(hours=1)
    half = run_backup(nightly, BackupRequest(trees=("sites", "uploads")))
    assert list(half.errors) == ["sites"]
    result = prune(nightly)
    (block,) = result.plan.blocked
    assert (block.part.name, block.part.host) == ("sites", "web-1")
    assert block.reason.startswith("its newest run failed. ")
    assert result.removed == tuple(only_uploads) and not result.complete
    assert ids(nightly) == [*made, half.id]

    # A run without a manifest, one that was killed, and one that is under way.
    clock.forward(hours=1)
    with pytest.raises(Exception, match="sites"):
        backup(nightly, "sites")
    assert not prune(nightly).removed
    sites.with_name("away").rename(sites)
    clock.forward(hours=1)
    good = backup(nightly)
    clock.forward(hours=1)
    record = running(nightly, keys.make_id(clock(), "00dead"), heartbeat=clock() - timedelta(hours=1))
    result = prune(nightly)
    assert [block.part.name for block in result.plan.blocked] == ["sites"]
    assert result.removed == (half.id,), "the backup was one of several of uploads"
    nightly.store.put_small(keys.run_key(record.id), records.to_json(replace(record, heartbeat=clock())))
    result = prune(nightly)
    assert result.complete and result.removed == tuple(made) and ids(nightly) == [good]


def test_prune_part_that_was_removed_from_the_settings_says_how_to_retire_it(
    nightly: BackupContext, clock: Clock
) -> None:
    """Its last run failed, and it will have no other run."""
    first, second = nights(nightly, clock, 2)
    sites = nightly.config.sites["sites"]
    sites.rename(sites.with_name("away"))
    with pytest.raises(Exception, match="sites"):
        backup(nightly, "sites")
    trees = {"uploads": nightly.config.sites["uploads"]}
    without = replace(nightly, config=replace(nightly.config, sites=trees))
    (block,) = prune(without, dry_run=True).plan.blocked
    assert block.reason == (
        "its newest run failed. It is not in the settings any more: to apply the rules to its copies again,"
        " set IGNY8_BACKUP['MAX_AGE'] = {'sites': None}"
    )
    retired = replace(without, config=replace(without.config, max_age={"sites": None}))
    result = prune(retired)
    assert result.complete and result.removed == (first,)
    kept = replace(nightly, config=replace(nightly.config, max_age={"sites": None}))
    (block,) = prune(kept, dry_run=True).plan.blocked
    assert block.reason == "its newest run failed. Make a good backup of it first: see list_backups"
    assert ids(nightly) == [second]


def test_prune_no_recent_backup_keeps_the_part(nightly: BackupContext, clock: Clock) -> None:
    made = nights(nightly, clock, 2)
    clock.forward(days=2, hours=1)
    result = prune(nightly)
    assert len(result.plan.blocked) == 2 and "2 days 1 hour old" in result.plan.blocked[0].reason
    assert not result.removed and ids(nightly) == made
    patient = {"uploads": timedelta(days=9), "web-1/sites": None}
    result = prune(replace(nightly, config=replace(nightly.config, max_age=patient)))
    assert result.complete and result.removed == (made[0],)


def test_prune_backup_dated_in_the_future_is_ignored(nightly: BackupContext, clock: Clock) -> None:
    clock.forward(days=365)
    ahead = backup(nightly)
    clock.forward(days=-365)
    first, second = nights(nightly, clock, 2)
    result = prune(nightly)
    assert (result.removed, result.plan.future) == ((first,), (ahead,))
    assert ids(nightly) == [second, ahead]


def test_prune_pinned_backup_stays_until_unpinned(nightly: BackupContext, clock: Clock) -> None:
    first, second = nights(nightly, clock, 2)
    for reason in ("", " ", "a\nb", "\x1b[2J"):
        with pytest.raises(UsageError, match="needs a reason"):
            pin(nightly, first, reason)
    with pytest.raises(UsageError, match="There is no backup"):
        pin(nightly, DEAD, "why not")
    with pytest.raises(UsageError, match="not pinned"):
        unpin(nightly, first)
    pin(nightly, first, "a first reason")
    made = pin(nightly, first, " before the move ")
    assert read_annotations(nightly.store)[first].pin == made and made.reason == "before the move"
    result = prune(nightly)
    assert not result.removed and result.plan.verdicts[1].reasons == ("pinned: before the move",)
    assert keys.pin_key(first) in stored(nightly)
    nightly.store.put_small(keys.pin_key(first), b"{")
    assert not prune(nightly).removed, "an unreadable pin counts as a pin"
    unpin(nightly, first)
    assert prune(nightly).removed == (first,) and ids(nightly) == [second]


def test_prune_locked_raises(nightly: BackupContext, clock: Clock) -> None:
    first, _ = nights(nightly, clock, 2)
    before = stored(nightly)
    with nightly.locked("a backup"):
        with pytest.raises(LockedError, match="a backup"):
            prune(nightly)
        with pytest.raises(LockedError):
            pin(nightly, first, "too late")
        assert prune(nightly, dry_run=True).removed == (first,)
    assert stored(nightly) == before


def test_prune_orphans_are_swept_unless_a_run_is_alive(nightly: BackupContext, clock: Clock) -> None:
    (kept,) = nights(nightly, clock, 1)
    ours = {PACK, DUMP, f"{DUMP}.0a1b2c3d.partial", f"runs/{DEAD}.json.00ff00ff.partial"}
    # Neither foreign objects nor what a later release may have written beside a backup.
    strange = {"notes.txt", "packs/notes.txt", f"backups/{kept}/signature", f"{keys.backup_folder(kept)}db/x"}
    for key in ours | strange:
        nightly.store.put_small(key, b"x")
    assert {item.key for item in prune(nightly).waiting} == ours
    clock.forward(hours=21)
    running(nightly, DEAD, host="web-2")
    result = prune(nightly)
    assert not result.swept and not result.waiting
    # Another run of that host may reuse the packs; the other objects are orphans.
    nightly.store.delete(keys.run_key(DEAD))
    running(nightly, DEAD.replace("aa", "ab"), host="web-2")
    assert {item.key for item in prune(nightly).waiting} == ours - {PACK}
    clock.forward(hours=21)
    assert swept(prune(nightly)) == ours - {PACK}
    clock.forward(hours=21)
    assert swept(prune(nightly)) == {PACK}
    assert strange <= stored(nightly)


def test_prune_backup_of_a_running_run_stays(nightly: BackupContext, clock: Clock) -> None:
    first, second = nights(nightly, clock, 2)
    run = nightly.catalog.run(first)
    assert run
    alive = replace(run, outcome=RUNNING, heartbeat=clock())
    nightly.store.put_small(keys.run_key(first), records.to_json(alive))
    assert not prune(nightly).removed and ids(nightly) == [first, second]
    clock.forward(minutes=6)
    assert prune(nightly).removed == (first,)


def test_prune_unreadable_manifest_keeps_all_packs(nightly: BackupContext, clock: Clock) -> None:
    first, second, third = nights(nightly, clock, 3)
    whole = nightly.store.read_small(keys.manifest_key(second))
    needs = packs(nightly.catalog.get(first)) | packs(nightly.catalog.get(second))
    nightly.store.put_small(keys.manifest_key(second), b"{")
    for _ in range(3):
        result = prune(nightly)
        assert result.unreadable == (second,) and not result.complete and not result.swept
        clock.forward(hours=15)
    assert ids(nightly) == [second, third] and needs <= stored(nightly)
    nightly.store.put_small(keys.manifest_key(second), whole)
    assert prune(nightly).removed == (second,)


def test_prune_removes_old_run_records_but_the_newest(nightly: BackupContext, clock: Clock) -> None:
    first = backup(nightly, "sites", "uploads")
    second, third = backup(nightly, "uploads"), backup(nightly, "sites")
    for backup_id in (first, second):
        run = nightly.catalog.run(backup_id)
        assert run
        pruned = replace(run, pruned=clock())
        nightly.store.put_small(keys.run_key(backup_id), records.to_json(pruned))
        nightly.store.delete(keys.manifest_key(backup_id))
    clock.forward(days=89)
    prune(nightly)
    assert {run.id for run in nightly.catalog.runs()} == {first, second, third}
    clock.forward(days=2)
    prune(nightly)
    assert {run.id for run in nightly.catalog.runs()} == {second, third}


@pytest.fixture
def failing(context: BackupContext, settings: Any, clock: Clock) -> Iterator[BackupContext]:
    """A context whose storage can be made to refuse deletions."""
    alias = {**settings.STORAGES["dbbackup"], "BACKEND": "tests.operations.storages.FailsToDelete"}
    settings.STORAGES = {**settings.STORAGES, "dbbackup": alias}
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "RETENTION": {"last": 1}}
    with open_context(progress=Notes(), clock=clock) as found:
        yield found
    FailsToDelete.left = None


def test_prune_interrupted_leaves_complete_backups(
    failing: BackupContext, clock: Clock, tmp_path: Path
) -> None:
    kept = nights(failing, clock, 3)[-1]
    before, copy = tmp_path / "storage", tmp_path / "copy"
    shutil.copytree(before, copy)
    began, deletions = clock.now, 0
    while True:
        FailsToDelete.left = deletions
        problem = ""
        try:
            problem = prune(failing).problem
        except StorageError as error:
            problem = str(error)
        finally:
            FailsToDelete.left = None
        for manifest in failing.catalog.manifests():
            assert named(manifest) <= stored(failing), f"{manifest.id} is no longer complete"
        for _ in range(2):
            prune(failing)
            clock.forward(hours=21)
            clock.now = min(clock.now, began + timedelta(hours=47))
        assert stored(failing) == named(failing.catalog.get(kept))
        if not problem:
            break
        assert "Cannot delete from" in problem
        shutil.rmtree(before)
        shutil.copytree(copy, before)
        clock.now = began
        deletions += 1
    assert deletions > 10


def test_prune_manifest_that_stays_after_its_deletion_keeps_its_objects(
    nightly: BackupContext, clock: Clock, settings: Any
) -> None:
    made = nights(nightly, clock, 2)
    alias = {**settings.STORAGES["dbbackup"], "BACKEND": f"{KeepsManifests.__module__}.KeepsManifests"}
    settings.STORAGES = {**settings.STORAGES, "dbbackup": alias}
    before = stored(nightly)
    with open_context() as keeping:
        stubborn = by_clock(replace(keeping, config=nightly.config), clock)
        with pytest.raises(StorageError, match=f"still has the manifest of backup {made[0]}"):
            prune(stubborn)
    assert stored(nightly) == before


class Counting(Notes):
    """A progress that keeps what begins, with its total, and how many bytes of it are done."""

    def __init__(self) -> None:
        super().__init__()
        self.totals: dict[str, int] = {}
        self.done: dict[str, int] = {}

    def begin(self, what: str, total: int | None, count: int | None = None, unit: str = "files") -> None:
        self.totals[what] = total or 0
        self.done[what] = 0

    def advance(self, amount: int, count: int = 0) -> None:
        self.done[list(self.done)[-1]] += amount


def test_prune_reports_how_much_it_removes(nightly: BackupContext, clock: Clock) -> None:
    nights(nightly, clock, 2)
    progress = Counting()
    watched = replace(nightly, progress=progress)
    assert len(prune(watched).removed) == 1
    assert progress.done["removal of backups"] >= progress.totals["removal of backups"] > 0
    for _ in range(3):
        clock.forward(days=8)
        if prune(watched).swept:
            break
    assert progress.done["removal of orphans"] == progress.totals["removal of orphans"] > 0
