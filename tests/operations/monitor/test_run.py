"""Monitoring: each problem fails its condition, and nothing else fails."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage
from prometheus_client.parser import text_string_to_metric_families

from igny8_backup.catalog.annotations import read_annotations
from igny8_backup.conf import Limits
from igny8_backup.errors import BackupError, FilesError
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.annotations import DRILLED
from igny8_backup.formats.manifest import RUNNING
from igny8_backup.management.prometheus import text_of, write_metrics
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.drill.run import DrillRequest, drill
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.monitor.health import Condition, Health
from igny8_backup.operations.monitor.run import monitor
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify, verify_backups
from igny8_backup.retention.rules import Policy
from igny8_backup.store import Stored
from igny8_backup.store.folder.local import LocalStore
from tests.operations.clocks import Clock, by_clock

pytestmark = pytest.mark.slow


class Site:
    """An application that was backed up on five nights and then verified.

    The clock is set to years ago, so that no file is older than the record about it.
    """

    def __init__(self, context: BackupContext, clock: Clock, trees: tuple[Path, Path], storage: Path) -> None:
        self.context, self.clock, self.storage = context, clock, storage
        self.sites, self.uploads = trees
        self.last = ""
        for _ in range(5):
            self.night()
        verify(context, VerifyRequest())

    def night(self) -> None:
        self.clock.forward(days=1)
        self.last = run_backup(self.context, BackupRequest(trees=("sites", "uploads"))).id

    def record(self, **changed: Any) -> None:
        """Change the record of the last run."""
        run = self.context.catalog.run(self.last)
        assert run
        self.context.store.put_small(keys.run_key(self.last), records.to_json(replace(run, **changed)))


@pytest.fixture
def site(context: BackupContext, trees: tuple[Path, Path], tmp_path: Path) -> Site:
    clock = Clock(datetime(2020, 3, 1, 1, 15, tzinfo=UTC))
    return Site(by_clock(context, clock), clock, trees, tmp_path / "storage")


def failed(health: Health) -> set[tuple[str, str]]:
    return {(item.name, item.of) for item in health.failed}


SITES, UPLOADS = "files sites of web-1", "files uploads of web-1"


def nothing(site: Site) -> None: ...


def too_old(site: Site) -> None:
    site.clock.forward(days=2, hours=1)


def a_tree_that_fails(site: Site) -> None:
    site.sites.rename(site.sites.with_name("away"))
    site.night()


def killed(site: Site) -> None:
    site.clock.forward(hours=1)
    site.record(
        id=(later := keys.make_id(site.clock(), "00dead")),
        started=site.clock(),
        heartbeat=site.clock(),
        outcome=RUNNING,
    )
    (site.storage / f"igny8/runs/{site.last}.json").rename(site.storage / f"igny8/runs/{later}.json")
    site.clock.forward(hours=1)


def under_way(site: Site) -> None:
    killed(site)
    site.clock.forward(hours=-1)


def a_full_run(site: Site) -> None:
    shutil.rmtree(site.context.config.state_dir / "indexes")
    site.night()


def full_runs(site: Site) -> None:
    for _ in range(3):
        a_full_run(site)


def files_left_out(site: Site) -> None:
    site.record(outcome="incomplete")


def shrunk(site: Site) -> None:
    shutil.rmtree(site.uploads / "a")
    shutil.rmtree(site.uploads / "b")
    site.night()


def never_verified_again(site: Site) -> None:
    for _ in range(10):
        site.night()


def never_drilled(site: Site) -> None:
    site.clock.forward(days=40)
    site.night()
    verify(site.context, VerifyRequest())


def drilled_elsewhere(site: Site) -> None:
    never_drilled(site)
    limits = Limits(verified=timedelta(days=9), drilled=None)
    site.context = replace(site.context, config=replace(site.context.config, limits=limits))


def verified_often_enough(site: Site) -> None:
    site.clock.forward(days=2)
    site.night()
    limits = Limits(verified=timedelta(days=2), drilled=timedelta(days=7))
    site.context = replace(site.context, config=replace(site.context.config, limits=limits))


def drilled(site: Site) -> None:
    never_drilled(site)
    (checked,) = read_annotations(site.context.store)[site.last].checks
    key = keys.check_key(site.last, site.clock(), DRILLED)
    site.context.store.put_small(key, records.to_json(replace(checked, depth=DRILLED)))


def damaged(site: Site) -> None:
    pack = next(item for item in site.context.catalog.get(site.last).objects() if "packs/" in item.key)
    path = site.storage / "igny8" / pack.key
    path.write_bytes(bytes(path.stat().st_size))
    verify(site.context, VerifyRequest())


def packs_deleted(site: Site) -> None:
    for pack in (site.storage / "igny8/packs/web-1/sites").iterdir():
        pack.unlink()


def index_deleted(site: Site) -> None:
    (tree, _) = site.context.catalog.get(site.last).trees
    site.context.store.delete(tree.stored_index.key)


def details_cut(site: Site) -> None:
    path = site.storage / "igny8" / site.context.catalog.get(site.last).details.key
    path.write_bytes(path.read_bytes()[:-1])


def newest_manifest_deleted(site: Site) -> None:
    site.context.store.delete(keys.manifest_key(site.last))


def newest_backup_deleted_with_its_folder(site: Site) -> None:
    shutil.rmtree(site.storage / "igny8/backups" / site.last)


def manifest_altered(site: Site) -> None:
    key = keys.manifest_key(site.last)
    site.context.store.put_small(key, site.context.store.read_small(key) + b"\n")


def pruned_at_the_same_time(site: Site) -> None:
    """A backup that prune_backups has removed is not lost."""
    oldest = site.context.catalog.entries()[-1].id
    run = site.context.catalog.run(oldest)
    assert run
    site.context.store.put_small(keys.run_key(oldest), records.to_json(replace(run, pruned=site.clock())))
    shutil.rmtree(site.storage / "igny8/backups" / oldest)


def verified_while_copies_are_removed_daily(site: Site) -> None:
    """The copies are always young; only the run records show that none was verified for long."""
    for _ in range(12):
        site.night()
        policy = Policy(last=1)
        prune(replace(site.context, config=replace(site.context.config, retention=policy)))


def old_copy_verified(site: Site) -> None:
    never_verified_again(site)
    verify(site.context, VerifyRequest(backup_id=site.context.catalog.entries()[-1].id))


def one_tree_verified(site: Site) -> None:
    """The newest backup has one tree only; its verification says nothing about the other one."""
    never_verified_again(site)
    site.clock.forward(hours=1)
    site.last = run_backup(site.context, BackupRequest(trees=("uploads",))).id
    verify(site.context, VerifyRequest())


def everything_verified(site: Site) -> None:
    one_tree_verified(site)
    verify_backups(site.context, VerifyRequest())


def one_tree_drilled(site: Site) -> None:
    never_drilled(site)
    site.clock.forward(hours=1)
    site.last = run_backup(site.context, BackupRequest(trees=("uploads",))).id
    drill(site.context, DrillRequest(backup_id=site.last))


def everything_drilled(site: Site) -> None:
    one_tree_drilled(site)
    assert len(drill(site.context, DrillRequest()).results) == 2


def drilled_backup_pruned(site: Site) -> None:
    """The result of a drill outlives the backup that was drilled."""
    never_drilled(site)
    drill(site.context, DrillRequest())
    policy = Policy(last=1, proven=0)
    context = replace(site.context, config=replace(site.context.config, retention=policy))
    for _ in range(3):
        site.night()
        prune(context)
    (newest,) = site.context.catalog.entries()
    assert newest.id not in read_annotations(site.context.store)


def other_host(site: Site, **config: Any) -> BackupContext:
    """The context of another host with the same trees."""
    state = site.context.config.state_dir.with_name("state of web-2")
    changed = replace(site.context.config, host="web-2", state_dir=state, **config)
    return replace(site.context, config=changed)


def other_host_verified(site: Site) -> None:
    """A verification of the files of web-2 says nothing about the tree of the same name of web-1."""
    never_verified_again(site)
    made = run_backup(other_host(site), BackupRequest(trees=("sites", "uploads")))
    verify(site.context, VerifyRequest(backup_id=made.id))


def declared(site: Site, *names: str) -> None:
    config = replace(site.context.config, hosts={name: {} for name in names})
    site.context = replace(site.context, config=config)


def declared_host_never_ran(site: Site) -> None:
    declared(site, "web-1", "web-9")


def retired_host(site: Site) -> None:
    """Nothing about a host that was taken out of HOSTS is an alarm, whatever state it was left in."""
    other = other_host(site)
    run_backup(other, BackupRequest(trees=("sites",)))
    for pack in (site.storage / "igny8/packs/web-2/sites").iterdir():
        pack.unlink()
    site.sites.rename(site.sites.with_name("away"))
    with pytest.raises(BackupError):
        run_backup(other, BackupRequest(trees=("sites",)))
    site.sites.with_name("away").rename(site.sites)
    for _ in range(3):
        site.night()
    declared(site, "web-1")


def undeclared_host_unseen(site: Site) -> None:
    """Without HOSTS, a host that has not run for 90 days is retired."""
    run_backup(other_host(site), BackupRequest(trees=("sites",)))
    site.clock.forward(days=89)
    for _ in range(2):
        site.night()
    limits = Limits(verified=None, drilled=None)
    site.context = replace(site.context, config=replace(site.context.config, limits=limits))


def undeclared_host_seen_lately(site: Site) -> None:
    run_backup(other_host(site), BackupRequest(trees=("sites",)))
    for _ in range(3):
        site.night()


def unreadable(site: Site) -> None:
    oldest = site.context.catalog.entries()[-1].id
    site.context.store.put_small(keys.manifest_key(oldest), b"{")


def a_clock_ahead(site: Site) -> None:
    site.record(heartbeat=site.clock() + timedelta(hours=1))


def a_tree_that_was_never_backed_up(site: Site) -> None:
    config = replace(site.context.config, sites={**site.context.config.sites, "blog": site.sites})
    site.context = replace(site.context, config=config)


def another_machine(site: Site) -> None:
    a_tree_that_was_never_backed_up(site)
    site.context = replace(site.context, config=replace(site.context.config, host="watcher"))


def given_up(site: Site) -> None:
    too_old(site)
    config = replace(site.context.config, max_age={"sites": None, "web-1/uploads": None})
    site.context = replace(site.context, config=config)


def storage_gone(site: Site) -> None:
    site.storage.rename(site.storage.with_name("not mounted"))


RETENTION, HOST = ("retention", "all backups"), "host web-1"
PROBLEMS: list[tuple[Callable[[Site], None], set[tuple[str, str]]]] = [
    (nothing, set()),
    (under_way, set()),
    (another_machine, set()),
    (given_up, set()),
    (too_old, {("age", SITES), ("age", UPLOADS), RETENTION}),
    (a_tree_that_fails, {("complete", SITES), ("run", HOST), RETENTION}),
    (killed, {("complete", SITES), ("complete", UPLOADS), ("run", HOST), RETENTION}),
    (a_full_run, set()),
    (full_runs, {("incremental", SITES), ("incremental", UPLOADS)}),
    (files_left_out, {("run", HOST)}),
    (shrunk, {("size", UPLOADS)}),
    (never_verified_again, {("verified", SITES), ("verified", UPLOADS)}),
    (never_drilled, {("drilled", SITES), ("drilled", UPLOADS)}),
    (drilled, set()),
    (drilled_elsewhere, set()),
    (verified_often_enough, {(name, of) for name in ("verified", "drilled") for of in (SITES, UPLOADS)}),
    (damaged, {("damage", SITES), ("age", SITES), RETENTION}),
    (packs_deleted, {("objects", SITES), ("age", SITES), RETENTION}),
    (index_deleted, {("objects", SITES)}),
    (details_cut, {("objects", SITES), ("objects", UPLOADS)}),
    (newest_manifest_deleted, {("lost", HOST)}),
    (newest_backup_deleted_with_its_folder, {("lost", HOST)}),
    (manifest_altered, {("objects", SITES), ("objects", UPLOADS)}),
    (pruned_at_the_same_time, set()),
    (verified_while_copies_are_removed_daily, {("verified", SITES), ("verified", UPLOADS)}),
    (old_copy_verified, {("verified", SITES), ("verified", UPLOADS)}),
    (one_tree_verified, {("verified", SITES)}),
    (everything_verified, set()),
    (one_tree_drilled, {("drilled", SITES)}),
    (everything_drilled, set()),
    (drilled_backup_pruned, set()),
    (other_host_verified, {("verified", SITES), ("verified", UPLOADS)}),
    (declared_host_never_ran, {("run", "host web-9")}),
    (retired_host, set()),
    (undeclared_host_unseen, set()),
    (undeclared_host_seen_lately, {("age", "files sites of web-2"), RETENTION}),
    (unreadable, {RETENTION}),
    (a_clock_ahead, {("clock", HOST), ("dates", "all records")}),
    (a_tree_that_was_never_backed_up, {("age", "files blog of web-1")}),
]


@pytest.mark.parametrize(("cause", "expected"), PROBLEMS, ids=[cause.__name__ for cause, _ in PROBLEMS])
def test_monitor_site_fails_the_expected_conditions(
    site: Site, cause: Callable[[Site], None], expected: set[tuple[str, str]]
) -> None:
    cause(site)
    health = monitor(site.context)
    assert failed(health) == expected
    pairs = [(item.name, item.of) for item in health.conditions]
    assert len(pairs) == len(set(pairs)), "a metric would occur twice"


def test_monitor_unreachable_storage_is_a_failed_condition(site: Site, context: BackupContext) -> None:
    storage_gone(site)
    health = monitor(site.context)
    assert failed(health) == {("storage", context.store.describe())} and len(health.conditions) == 1
    assert "does not exist" in health.conditions[0].text
    assert health.backups is None


def test_monitor_empty_storage_is_unhealthy(context: BackupContext, tmp_path: Path) -> None:
    (tmp_path / "storage").mkdir()
    assert failed(monitor(context)) == {("storage", context.store.describe())}


def metrics(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Name -> labels -> value, by the parser of Prometheus' own client."""
    return {
        family.name: {
            tuple(sorted(sample.labels.items())): sample.value
            for sample in family.samples
            if family.type == "gauge" and family.documentation
        }
        for family in text_string_to_metric_families(text)
    }


def test_write_metrics_agrees_with_monitor(site: Site, tmp_path: Path) -> None:
    health = monitor(site.context)
    file = tmp_path / "igny8_backup.prom"
    file.write_text("before")
    write_metrics(file, health)
    assert file.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir() if "prom" in path.name] == [file.name]
    found = metrics(file.read_text())
    assert found["igny8_backup_healthy"] == {(): 1}
    assert found["igny8_backup_backups"] == {(): 5}
    part = (("host", "web-1"), ("kind", "files"), ("name", "uploads"))
    newest = site.context.catalog.get(site.last)
    assert found["igny8_backup_newest_timestamp_seconds"][part] == newest.started.timestamp()
    assert found["igny8_backup_newest_bytes"][part] == newest.trees[1].bytes
    assert found["igny8_backup_stored_bytes"][()] == health.stored_bytes
    assert len(found["igny8_backup_condition_ok"]) == len(health.conditions)
    storage_gone(site)
    found = metrics(text_of(monitor(site.context)))
    assert found["igny8_backup_healthy"] == {(): 0} and not found["igny8_backup_backups"]


def test_text_of_escapes_any_name() -> None:
    odd = 'a"b\\c\nd{}=, ü'
    health = Health(
        now=datetime(2020, 1, 1, tzinfo=UTC),
        conditions=(Condition(name="storage", of=odd, ok=False, text="x"),),
    )
    (labels,) = metrics(text_of(health))["igny8_backup_condition_ok"]
    assert dict(labels)["of"] == odd


def test_write_metrics_leaves_a_pipe_in_its_place(site: Site, tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "x.prom")
    with pytest.raises(FilesError, match="it exists and is not a regular file"):
        write_metrics(pipe, monitor(site.context))
    assert pipe.is_fifo() and list(tmp_path.glob(".x.prom*")) == []


def test_write_metrics_missing_folder_raises(site: Site, tmp_path: Path) -> None:
    with pytest.raises(FilesError, match="cannot be written"):
        write_metrics(tmp_path / "missing" / "x.prom", monitor(site.context))


def test_monitor_first_full_backup_does_not_say_incremental(context: BackupContext) -> None:
    run_backup(context, BackupRequest(trees=("sites", "uploads")))
    shown = [f"{item.name}: {item.text}" for item in monitor(context).conditions]
    assert not [line for line in shown if "incremental" in line or "changed" in line]
    run_backup(context, BackupRequest(trees=("sites", "uploads")))
    shown = [item.text for item in monitor(context).conditions if item.name == "incremental"]
    assert shown == ["the newest backup stored only what had changed"] * 2
    run_backup(context, BackupRequest(trees=("sites", "uploads"), full=True))
    shown = [item.text for item in monitor(context).conditions if item.name == "incremental"]
    assert shown == ["the newest backup stored every file again"] * 2


def test_monitor_lists_each_prefix_once(site: Site) -> None:
    """Presence and sizes come from the listings; no object is asked for one by one."""
    asked: list[str] = []

    class Counted(LocalStore):
        def _list(self, folder: str, unlisted: dict[str, str] | None = None) -> Iterator[Stored]:
            asked.append(f"list {folder}")
            return super()._list(folder, unlisted)

        def _size(self, name: str) -> int | None:
            asked.append(f"size {name}")
            return super()._size(name)

    storage = FileSystemStorage(location=site.storage)
    store = Counted(storage, "igny8/")
    assert not monitor(replace(site.context, store=store)).failed
    tops = [line for line in asked if line.count("/") == 2]
    assert len(tops) == len(set(tops))
    assert [line for line in asked if line.startswith("size")] == [
        f"size igny8/{keys.manifest_key(site.last)}"
    ], "only to see that the last backup of this host is there"


def test_monitor_shows_a_retired_host_without_an_alarm(site: Site) -> None:
    retired_host(site)
    health = monitor(site.context)
    (shown,) = [item for item in health.conditions if "web-2" in item.of]
    assert (shown.name, shown.ok) == ("retired", True) and "days ago" in shown.text
    assert health.retired == ("web-2",) and {copy.part.host for copy in health.newest} == {"web-1"}
    result = prune(site.context)
    assert result.complete, "a retired host blocks nothing"


def test_write_metrics_show_when_each_part_was_checked(site: Site) -> None:
    one_tree_drilled(site)
    found = metrics(text_of(monitor(site.context)))
    part = {name: (("host", "web-1"), ("kind", "files"), ("name", name)) for name in ("sites", "uploads")}
    assert found["igny8_backup_part_drilled_timestamp_seconds"].keys() == {part["uploads"]}
    verified = found["igny8_backup_part_verified_timestamp_seconds"]
    assert verified[part["sites"]] < verified[part["uploads"]]
    condition = found["igny8_backup_condition_ok"]
    assert condition[("condition", "drilled"), ("of", SITES)] == 0
    assert condition[("condition", "drilled"), ("of", UPLOADS)] == 1


def test_damaged_run_record_may_hide_a_failed_run(site: Site) -> None:
    older = keys.make_id(site.clock() - timedelta(days=2), "00dead")
    site.context.store.put_small(keys.run_key(older), b"damaged")
    assert not failed(monitor(site.context)) and not site.context.catalog.run(older)
    site.clock.forward(hours=1)
    newer = keys.make_id(site.clock(), "00dead")
    site.context.store.put_small(keys.run_key(newer), b"{}")
    site.clock.forward(hours=1)
    assert failed(monitor(site.context)) == {("run", "host web-1"), ("retention", "all backups")}
    result = prune(site.context)
    assert not result.removed and any("may hide a failed run" in line for line in result.problems())
    site.night()
    assert not failed(monitor(site.context))
