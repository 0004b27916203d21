"""A run that meets the run of its own host is skipped, and only a repeated skip is an alarm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from igny8_backup.errors import LockedError
from igny8_backup.formats.documents.run_record import SKIPPED, RunRecord, is_excused
from igny8_backup.formats.manifest import COMPLETE, RUNNING
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.maintain.inventory import read_inventory
from igny8_backup.operations.status.keep import read_activity
from igny8_backup.operations.status.refresh import refreshing_status
from igny8_backup.tasks import backup_sites
from tests.operations.conftest import Notes

REQUEST = BackupRequest(trees=("sites",), skip_if_running=True)


class Meeting(Notes):
    """A progress that calls ``meet`` once, while the run is at work."""

    def __init__(self, meet: Callable[[], None]) -> None:
        super().__init__()
        self.meet: Callable[[], None] | None = meet

    def advance(self, amount: int, count: int = 0) -> None:
        if meet := self.meet:
            self.meet = None
            meet()


def test_run_is_skipped_behind_itself_and_fails_the_second_time(context: BackupContext) -> None:
    context = replace(context, lists=context.lists)

    def meet() -> None:
        running = context.catalog.runs()[0]
        skipped = run_backup(context, REQUEST)
        assert (skipped.manifest, skipped.complete) == (None, True)
        assert skipped.earlier and skipped.earlier.id == running.id
        with pytest.raises(LockedError, match=rf"backup {running.id} .* still runs, and 2 later ones"):
            backup_sites.apply(args=("sites",), kwargs={"skip_if_running": True}, throw=True)
        other = replace(REQUEST, trees=("sites", "uploads"))
        with pytest.raises(LockedError, match="Another run is using"):
            run_backup(context, other)  # the run at work does not make this backup
        outcomes = [run.outcome for run in context.catalog.runs()]
        assert sorted(outcomes) == [RUNNING, SKIPPED, SKIPPED]

    made = run_backup(replace(context, progress=Meeting(meet)), REQUEST)
    assert made.manifest
    inventory = read_inventory(context)
    assert not inventory.failing()
    assert [run.outcome for run in inventory.settled_runs()] == [COMPLETE], "the backup was made after all"


def test_skips_of_different_parts_behind_one_run_are_not_counted_together(context: BackupContext) -> None:
    met: list[bool] = []

    def meet() -> None:
        for tree in ("sites", "uploads"):
            assert run_backup(context, replace(REQUEST, trees=(tree,))).manifest is None
        with pytest.raises(LockedError, match="and 2 later ones were skipped"):
            run_backup(context, REQUEST)
        met.append(True)

    run_backup(replace(context, progress=Meeting(meet)), replace(REQUEST, trees=("sites", "uploads")))
    assert met, "a LockedError in meet() fails only a tree of the run"


def test_skip_is_excused_unless_the_run_before_was_skipped_too(context: BackupContext) -> None:
    run_backup(context, REQUEST)
    (complete,) = context.catalog.runs()

    def later(hours: int, **changed: Any) -> RunRecord:
        moment = complete.started + timedelta(hours=hours)
        return replace(complete, started=moment, heartbeat=moment, finished=moment, **changed)

    first, second = later(1, outcome=SKIPPED), later(2, outcome=SKIPPED)
    now = second.started + timedelta(minutes=1)
    assert is_excused(first, [first, complete], now)
    assert not is_excused(second, [second, first, complete], now)
    between = replace(later(1), id="other", requested=("uploads",))
    assert not is_excused(second, [second, between, first, complete], now), "it did not back up the tree"
    assert is_excused(second, [later(3), second, first, complete], now), "another run has made the backup"
    elsewhere = replace(first, host="web-2")
    assert is_excused(second, [second, elsewhere, complete], now), "another host was skipped"


def test_run_without_the_lock_leaves_the_other_run_in_the_activity(context: BackupContext) -> None:
    def active() -> list[str]:
        return [item.what for item in read_activity(context.config).works if not item.ended]

    with refreshing_status(context), refreshing_status(context, "a verification"):
        with pytest.raises(LockedError), refreshing_status(context):
            assert active() == ["a backup", "a verification", "a backup"]
            raise LockedError("Another run holds the lock.")
        assert sorted(active()) == ["a backup", "a verification"]
    assert active() == []
