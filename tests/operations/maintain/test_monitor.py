"""Monitoring: each problem fails its condition, and nothing else fails."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from igny8_backup.catalog.annotations import read_annotations
from igny8_backup.conf import Limits
from igny8_backup.errors import FilesError
from igny8_backup.formats import keys, records
from igny8_backup.formats.annotations import DRILLED
from igny8_backup.formats.manifest import RUNNING
from igny8_backup.management.prometheus import text_of, write_metrics
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.maintain.monitor import Condition, Health, monitor
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify
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

    def record(self, **changed: object) -> None:
        """Change the record of the last run."""
        run = self.context.catalog.run(self.last)
        assert run
        self.context.store.put_small(keys.run_key(self.last), records.to_json(replace(run, **changed)))  # type: ignore[arg-type]


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
    (never_verified_again, {("verified", "all backups")}),
    (never_drilled, {("drilled", "all backups")}),
    (drilled, set()),
    (drilled_elsewhere, set()),
    (verified_often_enough, {("verified", "all backups"), ("drilled", "all backups")}),
    (damaged, {("damage", "all backups")}),
    (unreadable, {RETENTION}),
    (a_clock_ahead, {("clock", HOST)}),
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


def test_write_metrics_missing_folder_raises(site: Site, tmp_path: Path) -> None:
    with pytest.raises(FilesError, match="cannot be written"):
        write_metrics(tmp_path / "missing" / "x.prom", monitor(site.context))
