"""The status document: made from real backups, kept where the page reads it, never in the way of a run."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.conf import get_config
from igny8_backup.errors import FilesError, LockedError, StorageError
from igny8_backup.formats.documents.status import Activity, Status, Work
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.maintain.pin import pin
from igny8_backup.operations.monitor.run import monitor
from igny8_backup.operations.status import keep
from igny8_backup.operations.status.follow import followed
from igny8_backup.operations.status.keep import (
    keep_activity,
    keep_status,
    read_activity,
    read_status,
    status_file,
)
from igny8_backup.operations.status.refresh import refresh_status, refreshing_status
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify
from tests.operations.clocks import Clock, by_clock

BOTH = BackupRequest(trees=("sites", "uploads"))


def kept(context: BackupContext) -> Status:
    found = read_status(context.config).status
    assert found
    return found


@pytest.fixture
def nights(context: BackupContext) -> BackupContext:
    return by_clock(context, Clock(datetime(2020, 3, 1, 1, 15, tzinfo=UTC)))


@pytest.mark.slow
def test_status_shows_backups_checks_pins_and_failed_runs(
    nights: BackupContext, trees: tuple[Path, Path]
) -> None:
    first = run_backup(nights, BOTH)
    verify(nights, VerifyRequest(backup_id=first.id))
    pin(nights, first.id, "before the move")
    shutil.rmtree(trees[1])
    with refreshing_status(nights):
        second = run_backup(nights, BOTH)
    status = kept(nights)
    assert [item.id for item in status.backups] == [second.id, first.id]
    assert status.backups[1].pin == "before the move"
    assert [check.depth for check in status.backups[1].checks] == ["stored"]
    assert [(copy.name, copy.state) for copy in status.backups[0].copies] == [
        ("sites", "complete"),
        ("uploads", "failed"),
    ]
    assert status.runs[0].errors == {"uploads": "FilesError"}
    newest = {part.name: part.backup_id for part in status.parts}
    assert newest == {"sites": second.id, "uploads": first.id}
    assert [item.part for item in status.blocked] == ["files uploads of web-1"]
    sites = status.backups[0].copies[0]
    assert sites.stored_bytes > sites.added_bytes > 0


def test_status_has_the_conditions_of_the_monitor(nights: BackupContext) -> None:
    run_backup(nights, BOTH)
    health = refresh_status(nights)
    expected = monitor(nights)
    assert health.conditions == expected.conditions
    assert [(item.name, item.of, item.ok, item.text) for item in kept(nights).conditions] == [
        (item.name, item.of, item.ok, item.text) for item in expected.conditions
    ]


def test_refresh_of_an_unreachable_storage_keeps_the_last_state(
    nights: BackupContext, tmp_path: Path
) -> None:
    run_backup(nights, BOTH)
    refresh_status(nights)
    before = kept(nights)
    storage = tmp_path / "storage"
    storage.rename(tmp_path / "elsewhere")
    storage.write_text("not a folder")
    assert not refresh_status(nights).conditions[0].ok
    after = kept(nights)
    assert after.backups == before.backups
    assert after.problem and after.problem_at


def test_storage_error_of_a_run_is_kept_without_asking_again(nights: BackupContext) -> None:
    with pytest.raises(StorageError), refreshing_status(nights):
        raise StorageError("The bucket is gone.")
    status = kept(nights)
    assert status.problem == "The bucket is gone."
    assert status.read is None


def test_run_that_found_the_lock_held_leaves_the_status_alone(nights: BackupContext) -> None:
    with pytest.raises(LockedError), refreshing_status(nights):
        raise LockedError("Another run holds the lock.")
    assert read_status(nights.config).status is None


def test_failed_run_refreshes_the_status(nights: BackupContext) -> None:
    run_backup(nights, BOTH)
    with pytest.raises(FilesError), refreshing_status(nights):
        raise FilesError("The folder cannot be read.")
    assert kept(nights).read


def test_status_that_cannot_be_written_is_noted_and_fails_nothing(nights: BackupContext) -> None:
    status_file(nights.config).mkdir(parents=True)
    with refreshing_status(nights):
        run_backup(nights, BOTH)
    notes: list[str] = nights.progress.texts  # type: ignore[attr-defined]  # Notes, of the fixture
    assert any("The status for the admin page was not kept." in note for note in notes)


def test_cache_that_is_down_is_noted_and_the_file_is_written(nights: BackupContext, settings: Any) -> None:
    settings.CACHES = {"shared": {"BACKEND": "tests.operations.status.test_refresh.BrokenCache"}}
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "STATUS_CACHE": "shared"}
    refresh_status(nights)
    status = kept(nights)
    assert keep_status(get_config(), status) == ["The cache 'shared' cannot be written: ConnectionError."]
    assert "cannot be read: ConnectionError" in read_status(get_config()).problem


def test_cache_that_never_answers_does_not_hold_up_a_backup(
    nights: BackupContext, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.CACHES = {
            "shared": {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": f"redis://127.0.0.1:{silent.getsockname()[1]}",
            }
        }
        settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "STATUS_CACHE": "shared"}
        monkeypatch.setattr(keep, "ANSWER_SECONDS", 0.2)
        with refreshing_status(replace(nights, config=get_config())) as context:
            run_backup(context, BOTH)
        assert keep_status(get_config(), kept(nights)) == [
            "The cache 'shared' cannot be written: TimeoutError."
        ]
    notes: list[str] = nights.progress.texts  # type: ignore[attr-defined]  # Notes, of the fixture
    assert any("The cache 'shared' cannot be written: TimeoutError." in note for note in notes)
    for thread in threading.enumerate():  # the end of the server ends them
        if thread.name == "igny8_backup-cache":
            thread.join()


def test_activity_says_what_runs_and_how_it_ended(nights: BackupContext) -> None:
    def works() -> list[tuple[str, str, bool, str]]:
        found = read_activity(nights.config).works
        return [(work.what, work.step, work.ended is None, work.error) for work in found]

    with refreshing_status(nights, "a verification") as context:
        assert works() == [("a verification", "", True, "")]
        refresh_status(nights)  # the hourly monitor
        assert works() == [("a verification", "", True, "")]
        run_backup(context, BOTH)
    assert works() == [("a verification", "", False, "")]
    for raised, error in (
        (LockedError("Another run."), "LockedError"),
        (KeyboardInterrupt(), "StoppedError"),
    ):
        with pytest.raises(type(raised)), refreshing_status(nights):
            raise raised
        assert works() == [("a backup", "", False, error), ("a verification", "", False, "")]


def test_activity_reports_the_step_that_runs(nights: BackupContext) -> None:
    with followed(nights, "a backup", every=0.01) as context:
        context.progress.begin("files uploads", 100, 7)
        context.progress.advance(40, 3)
        while not (works := read_activity(nights.config).works)[0].done:
            time.sleep(0.01)
        (work,) = works
        assert (work.step, work.done, work.total, work.files) == ("files uploads", 40, 100, 3)
        assert work.rate > 0 and work.reported > work.since
    (ended,) = read_activity(nights.config).works
    assert ended.ended and not ended.error


def test_work_of_a_killed_process_is_forgotten_after_a_day(nights: BackupContext) -> None:
    clock: Any = nights.clock
    killed = Work(host="web-2", what="a backup", since=clock(), reported=clock())
    keep_activity(nights.config, Activity(schema=1, works=(killed,)))
    for days, kept_works in ((0, 2), (1, 1)):
        clock.forward(days=days)
        with followed(nights, "a prune"):
            assert len(read_activity(nights.config).works) == kept_works


def test_end_of_a_job_that_arrives_while_work_is_reported_ends_the_work(
    nights: BackupContext, settings: Any
) -> None:
    settings.CACHES = {"shared": {"BACKEND": "tests.operations.status.test_refresh.EndingCache"}}
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "STATUS_CACHE": "shared"}
    with pytest.raises(JobTimeoutException), followed(replace(nights, config=get_config()), "a backup"):
        raise AssertionError("the work must not begin")


class JobTimeoutException(Exception):
    """The exception with which RQ ends a job."""

    __module__ = "rq.timeouts"


class BrokenCache:
    """A cache whose server is down."""

    def __init__(self, location: str, parameters: dict[str, Any]) -> None: ...

    def set(self, *arguments: Any, **options: Any) -> None:
        raise ConnectionError("refused")

    def get(self, *arguments: Any, **options: Any) -> None:
        raise ConnectionError("refused")

    def close(self) -> None: ...


class EndingCache(BrokenCache):
    """A cache during whose answer the time of the job ends."""

    def set(self, *arguments: Any, **options: Any) -> None:
        raise JobTimeoutException
