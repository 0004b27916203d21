"""A queued task that is delivered again: done once when it was done, done again when it died half-way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.errors import BackupError, FilesError, IncompleteError, LockedError
from igny8_backup.formats import keys, records
from igny8_backup.formats.manifest import RUNNING, STOPPED, RunRecord
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import Toolkit
from igny8_backup.tasks import backup_sites

TASK = "9f1c0a1e-0000-4000-8000-000000000001"
REQUEST = BackupRequest(trees=("sites",), task_id=TASK)


def records_of(kit: Toolkit) -> list[tuple[str, str]]:
    return [(run.id, run.outcome) for run in kit.catalog.runs()]


def leave(kit: Toolkit, outcome: str, *, heartbeat: datetime | None = None) -> str:
    """The record of an earlier delivery that ended so; its id."""
    began = kit.clock().replace(year=2020)
    backup_id = keys.make_id(began, keys.task_token(TASK))
    record = RunRecord(
        schema=1,
        id=backup_id,
        host="web-1",
        environment="test",
        label="",
        requested=("sites",),
        started=began,
        heartbeat=heartbeat or began,
        outcome=outcome,
        task_id=TASK,
    )
    kit.store.put_small(keys.run_key(backup_id), records.to_json(record))
    return backup_id


def test_a_second_delivery_finds_what_the_first_has_done(kit: Toolkit) -> None:
    first = run_backup(kit, REQUEST)
    assert first.manifest and first.earlier is None
    second = run_backup(kit, REQUEST)
    assert (second.id, second.manifest) == (first.id, None)
    assert second.earlier and second.earlier.outcome == "complete"
    assert records_of(kit) == [(first.id, "complete")]
    other = run_backup(kit, replace(REQUEST, task_id="another task"))
    assert other.earlier is None and other.id != first.id
    assert run_backup(kit, replace(REQUEST, task_id="")).earlier is None


def test_what_failed_is_told_again_and_not_done_again(
    kit: Toolkit, trees: tuple[Path, Path], tmp_path: Path
) -> None:
    trees[0].rename(tmp_path / "not mounted")
    with pytest.raises(FilesError):
        run_backup(kit, REQUEST)
    result = run_backup(kit, REQUEST)
    assert result.earlier and result.earlier.errors == {"sites": "FilesError"}
    with pytest.raises(IncompleteError, match=r"delivered before, as run 20.*: sites \(FilesError\) failed"):
        backup_sites.apply(args=("sites",), task_id=TASK, throw=True)
    assert len(kit.catalog.runs()) == 1


@pytest.mark.parametrize("outcome", [RUNNING, STOPPED])
def test_what_died_half_way_is_done_now(kit: Toolkit, outcome: str) -> None:
    dead = leave(kit, outcome)
    result = run_backup(kit, REQUEST)
    assert result.manifest and result.earlier is None
    assert records_of(kit) == [(result.id, "complete"), (dead, outcome)]
    assert run_backup(kit, REQUEST).id == result.id


@pytest.fixture
def under_way(kit: Toolkit) -> Iterator[str]:
    """The first delivery is at work: its record says so, and it holds the lock. Its id."""
    with kit.locked("the first delivery"):
        yield leave(kit, RUNNING, heartbeat=kit.clock())


def test_one_that_died_is_not_taken_for_the_holder_of_the_lock(kit: Toolkit) -> None:
    leave(kit, RUNNING)
    with kit.locked("another run"), pytest.raises(LockedError, match="another run"):
        run_backup(kit, REQUEST)


def test_while_the_first_is_under_way_the_second_says_nothing(kit: Toolkit, under_way: str) -> None:
    result = run_backup(kit, REQUEST)
    assert (result.id, result.manifest) == (under_way, None)
    ignored: Any = backup_sites.apply(args=("sites",), task_id=TASK)
    assert ignored.state == "IGNORED"
    with pytest.raises(LockedError, match="the first delivery"):
        run_backup(kit, replace(REQUEST, task_id="another task"))


@pytest.mark.usefixtures("kit")
def test_a_failed_backup_is_a_failed_task_with_the_reason(trees: tuple[Path, Path]) -> None:
    result: Any = backup_sites.apply(args=("no-such-tree",))
    assert result.state == "FAILURE" and isinstance(result.result, BackupError)
    assert "There is no tree 'no-such-tree'" in str(result.result)
    done = backup_sites.apply(kwargs={"label": "by hand"}).get()
    assert done["skipped"] == 0 and done["stored_bytes"] > 0
