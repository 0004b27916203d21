"""A task that the broker delivers twice runs once, and runs again only if the first run died."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.errors import BackupError, FilesError, IncompleteError, LockedError
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.run_record import RunRecord
from igny8_backup.formats.manifest import RUNNING, STOPPED
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.tasks import backup_sites

pytestmark = pytest.mark.slow

TASK = "9f1c0a1e-0000-4000-8000-000000000001"
REQUEST = BackupRequest(trees=("sites",), task_id=TASK)


def records_of(context: BackupContext) -> list[tuple[str, str]]:
    return [(run.id, run.outcome) for run in context.catalog.runs()]


def leave(context: BackupContext, outcome: str, *, heartbeat: datetime | None = None) -> str:
    """Write the record of an earlier delivery with this outcome; return its id."""
    began = context.clock().replace(year=2020)
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
    context.store.put_small(keys.run_key(backup_id), records.to_json(record))
    return backup_id


def test_backup_task_delivered_again_returns_the_first_run(context: BackupContext) -> None:
    first = run_backup(context, REQUEST)
    assert first.manifest and first.earlier is None
    second = run_backup(context, REQUEST)
    assert (second.id, second.manifest) == (first.id, None)
    assert second.earlier and second.earlier.outcome == "complete"
    assert records_of(context) == [(first.id, "complete")]
    other = run_backup(context, replace(REQUEST, task_id="another task"))
    assert other.earlier is None and other.id != first.id
    assert run_backup(context, replace(REQUEST, task_id="")).earlier is None


def test_backup_task_failed_and_delivered_again_fails_again(
    context: BackupContext, trees: tuple[Path, Path], tmp_path: Path
) -> None:
    trees[0].rename(tmp_path / "not mounted")
    with pytest.raises(FilesError):
        run_backup(context, REQUEST)
    result = run_backup(context, REQUEST)
    assert result.earlier and result.earlier.errors == {"sites": "FilesError"}
    with pytest.raises(IncompleteError, match=r"delivered before, as run 20.*: sites \(FilesError\) failed"):
        backup_sites.apply(args=("sites",), task_id=TASK, throw=True)
    assert len(context.catalog.runs()) == 1


@pytest.mark.parametrize("outcome", [RUNNING, STOPPED])
def test_backup_task_died_and_delivered_again_runs(context: BackupContext, outcome: str) -> None:
    dead = leave(context, outcome)
    result = run_backup(context, REQUEST)
    assert result.manifest and result.earlier is None
    assert records_of(context) == [(result.id, "complete"), (dead, outcome)]
    assert run_backup(context, REQUEST).id == result.id


@pytest.fixture
def under_way(context: BackupContext) -> Iterator[str]:
    """Run as the first delivery: hold the lock, with a record that says so. Yields its id."""
    with context.locked("the first delivery"):
        yield leave(context, RUNNING, heartbeat=context.clock())


def test_backup_task_died_is_not_the_lock_holder(context: BackupContext) -> None:
    leave(context, RUNNING)
    with context.locked("another run"), pytest.raises(LockedError, match="another run"):
        run_backup(context, REQUEST)


def test_backup_task_first_delivery_running_second_is_silent(context: BackupContext, under_way: str) -> None:
    result = run_backup(context, REQUEST)
    assert (result.id, result.manifest) == (under_way, None)
    ignored: Any = backup_sites.apply(args=("sites",), task_id=TASK)
    assert ignored.state == "IGNORED"
    with pytest.raises(LockedError, match="the first delivery"):
        run_backup(context, replace(REQUEST, task_id="another task"))


@pytest.mark.usefixtures("context")
def test_backup_task_failed_part_raises_with_the_reason(trees: tuple[Path, Path]) -> None:
    result: Any = backup_sites.apply(args=("no-such-tree",))
    assert result.state == "FAILURE" and isinstance(result.result, BackupError)
    assert "There is no tree 'no-such-tree'" in str(result.result)
    done = backup_sites.apply(kwargs={"label": "by hand"}).get()
    assert done["skipped"] == 0 and done["stored_bytes"] > 0
