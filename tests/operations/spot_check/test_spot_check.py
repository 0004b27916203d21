"""What is live, compared with the newest backup: what is an alarm, what it stops, and what ends it."""

from __future__ import annotations

import io
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.errors import UsageError
from igny8_backup.formats import keys as object_keys
from igny8_backup.formats import records
from igny8_backup.formats.documents.spot_check import SpotCheck
from igny8_backup.management.progress import TextProgress
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext, open_context
from igny8_backup.operations.history.table_counts import TableCounts
from igny8_backup.operations.maintain.accept import accept
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.monitor.run import monitor
from igny8_backup.operations.spot_check import run
from igny8_backup.operations.spot_check.judge import (
    ENCRYPTED,
    EXCLUDED,
    GONE,
    Tolerances,
    judge_tables,
)
from igny8_backup.operations.spot_check.result import SpotRequest, SpotResult
from igny8_backup.operations.spot_check.run import spot_check
from tests.operations.clocks import Clock

pytestmark = pytest.mark.slow

FILES = 60
SITES = SpotRequest(names=("sites",))


@pytest.fixture
def site(trees: tuple[Path, Path]) -> Path:
    """The tree of sites with images in it."""
    for number in range(FILES):
        (trees[0] / f"image-{number}.jpg").write_bytes(b"\xff\xd8\xff" + bytes([number]) * 100)
    return trees[0]


@pytest.fixture
def saved(context: BackupContext, site: Path) -> Iterator[BackupContext]:
    """The context after a backup of the sites."""
    back_up(context)
    yield context


def back_up(context: BackupContext) -> str:
    return run_backup(context, BackupRequest(trees=("sites",))).id


def causes(found: SpotResult) -> list[str]:
    return [finding.cause for _, finding in found.findings]


def images(site: Path) -> list[Path]:
    return sorted(site.glob("*.jpg"))


def encrypt(files: list[Path]) -> None:
    """Encrypt files as an attacker does: in their place."""
    for number, path in enumerate(files):
        path.write_bytes(random.Random(number).randbytes(200))


def test_spot_check_of_an_unchanged_tree_raises_no_alarm(
    saved: BackupContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "SHOWN_EVERY", 1)
    stream = io.StringIO()
    found = spot_check(replace(saved, progress=TextProgress(stream, every=-1)), SITES)
    shown = stream.getvalue()
    assert "backup of sites: 2 of about 67 files and folders" in shown
    assert "backup of sites: 67 files and folders" in shown and "68" not in shown
    assert found.complete and found.parts[0].numbers
    assert found.parts[0].numbers["recorded"] == FILES + 3


@pytest.mark.parametrize("emptied", [True, False])
def test_spot_check_finds_a_tree_that_is_not_mounted(saved: BackupContext, site: Path, emptied: bool) -> None:
    shutil.rmtree(site)
    if emptied:
        site.mkdir()
    assert causes(spot_check(saved, SITES)) == [GONE]


def test_spot_check_allows_files_to_be_deleted_within_the_tolerance(saved: BackupContext, site: Path) -> None:
    for path in images(site)[:40]:
        path.unlink()
    assert causes(spot_check(saved, replace(SITES, allowed=Tolerances(gone=0.8)))) == []
    assert causes(spot_check(saved, SITES)) == [GONE]


def test_spot_check_finds_an_exclude_that_is_too_wide(
    context: BackupContext, site: Path, settings: Any
) -> None:
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "EXCLUDE": {"sites": ["*.jpg"]}}
    # Only files from before the backup count, and a change time cannot be set: so the backup is made later.
    clock = Clock(datetime.now(UTC) + timedelta(hours=1))
    with open_context(clock=clock) as later:
        back_up(later)
        found = spot_check(later, SITES)
    assert causes(found) == [EXCLUDED]
    assert f"lacks {FILES} of {FILES + 3} files" in found.problems()[0]


def test_spot_check_finds_files_that_were_encrypted(saved: BackupContext, site: Path) -> None:
    encrypt(images(site)[:25])
    assert causes(spot_check(saved, SITES)) == [ENCRYPTED]


def test_spot_check_of_fewer_than_twenty_encrypted_files_is_no_alarm(
    saved: BackupContext, site: Path
) -> None:
    encrypt(images(site)[:19])
    assert causes(spot_check(saved, SITES)) == []


def test_spot_check_of_changed_files_of_the_right_type_is_no_alarm(saved: BackupContext, site: Path) -> None:
    for number, path in enumerate(images(site)):
        path.write_bytes(b"\xff\xd8\xff" + random.Random(number).randbytes(500))
    assert causes(spot_check(saved, SITES)) == []


def test_spot_check_follows_no_symlink(saved: BackupContext, site: Path, tmp_path: Path) -> None:
    shutil.copytree(site, tmp_path / "elsewhere")
    encrypt(images(tmp_path / "elsewhere"))
    for path in images(site):
        path.unlink()
        path.symlink_to(tmp_path / "elsewhere" / path.name)
    numbers = spot_check(saved, SITES).parts[0].numbers
    assert numbers and numbers["changed"] == FILES and numbers["typed"] == 0


def test_alarm_stops_retention_until_it_is_accepted(
    context: BackupContext, site: Path, settings: Any
) -> None:
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "RETENTION": {"last": 1}}
    clock = Clock()
    with open_context(clock=clock) as saved:
        good = back_up(saved)
        clock.forward(hours=1)
        bad = back_up(saved)
        encrypt(images(site))
        assert causes(spot_check(saved, SITES)) == [ENCRYPTED]
        clock.forward(hours=1)
        later = back_up(saved)  # contains the encrypted files
        assert spot_check(saved, SITES).complete
        clock.forward(hours=1)
        found = prune(saved)
        assert found.removed == () and f"accept_backup {bad}" in found.problems()[0]
        clock.forward(hours=40)  # the record of the alarm is no orphan, which a later run would remove
        assert prune(saved).swept == ()
        (condition,) = [item for item in monitor(saved).conditions if item.name == "live"]
        assert not condition.ok and bad in condition.text
        accept(saved, bad, "a test")
        (condition,) = [item for item in monitor(saved).conditions if item.name == "live"]
        assert condition.ok
        assert set(prune(saved).removed) == {good, bad}
        assert [entry.id for entry in saved.catalog.entries()] == [later]


def test_alarm_of_the_same_backup_is_not_ended_by_a_later_check(saved: BackupContext, site: Path) -> None:
    moved = site.with_name("moved")
    site.rename(moved)
    assert causes(spot_check(saved, SITES)) == [GONE]
    moved.rename(site)
    assert spot_check(saved, SITES).complete
    (condition,) = [item for item in monitor(saved).conditions if item.name == "live"]
    assert not condition.ok


def test_alarm_counts_without_a_trusted_signature(host: Any, site: Path) -> None:
    with host(signs="web", trusts=["web"]) as signed:
        back_up(signed)
    shutil.rmtree(site)
    with host(trusts=["web"]) as unsigned:
        assert causes(spot_check(unsigned, SITES)) == [GONE]
        (condition,) = [item for item in monitor(unsigned).conditions if item.name == "live"]
        assert not condition.ok


@pytest.mark.parametrize("how", ["replaced", "unreadable", "deleted"])
def test_alarm_whose_record_somebody_has_changed_stays_an_alarm(host: Any, site: Path, how: str) -> None:
    """Whoever encrypts the files may have the write key too, and would let retention go on."""
    with host(signs="web", trusts=["web"]) as context:
        backup_id = back_up(context)
        encrypt(images(site))
        assert causes(spot_check(context, SITES)) == [ENCRYPTED]
        key = object_keys.spot_key(backup_id)
        found = records.from_json(SpotCheck, context.store.read_small(key), name=key, schema=1)
        if how == "deleted":
            context.store.delete(key)
        else:
            forged = records.to_json(replace(found, findings=()))
            context.store.put_small(key, forged if how == "replaced" else b"{")
        (condition,) = [item for item in monitor(context).conditions if item.name == "live"]
        assert not condition.ok and "proves nothing" in condition.text
        assert any("proves nothing" in block.reason for block in prune(context).plan.blocked)
        spot_check(context, SITES)
        accept(context, backup_id, "a test")
        (condition,) = [item for item in monitor(context).conditions if item.name == "live"]
        assert condition.ok


def test_alarm_stays_if_somebody_stores_an_older_signed_record_again(host: Any, site: Path) -> None:
    with host(signs="web", trusts=["web"]) as context:
        backup_id = back_up(context)
        key = object_keys.spot_key(backup_id)
        assert spot_check(context, SITES).complete
        before = context.store.read_small(key)
        encrypt(images(site))
        assert causes(spot_check(context, SITES)) == [ENCRYPTED]
        context.store.put_small(key, before)
        for _ in range(2):
            failed = {item.name: item.text for item in monitor(context).conditions if not item.ok}
            assert backup_id in failed["live"] and "stored an older one in its place" in failed["remembered"]
        assert not prune(context).removed
        spot_check(context, SITES)
        accept(context, backup_id, "a test")
        assert not {"live", "remembered"} & {item.name for item in monitor(context).conditions if not item.ok}


def test_spot_check_without_a_local_index_says_so(saved: BackupContext, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "state")
    found = spot_check(saved, SpotRequest())
    assert not found.complete and not found.findings
    assert ["STATE_DIR has no list" in line for line in found.problems()] == [True, False]
    assert "no backup of it" in found.problems()[1]


def test_spot_check_of_an_unknown_part_is_refused(saved: BackupContext) -> None:
    with pytest.raises(UsageError, match="no database or tree 'x'.*sites, uploads"):
        spot_check(saved, SpotRequest(names=("x",)))


@pytest.mark.parametrize(
    ("live", "alarm"),
    [
        ({"a": 1000, "b": 1000, "small": 0}, False),
        ({"a": 501, "b": 1000}, False),
        ({"a": 499, "b": 1000}, True),
        ({"a": 0, "b": 0}, True),
        ({"b": 1000}, False),
    ],
)
def test_judge_tables_alarms_when_large_tables_lost_most_rows(live: dict[str, int], alarm: bool) -> None:
    counts = TableCounts(schema=1, backup_id="", row_counts={"a": 1000, "b": 1000, "small": 99})
    assert bool(list(judge_tables(counts, live, Tolerances()))) == alarm
