"""Objects that the storage does not give: the problem of one backup, unless the storage itself fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage

from igny8_backup.catalog.annotations import read_annotations
from igny8_backup.catalog.backups import Catalog
from igny8_backup.catalog.lists import Lists
from igny8_backup.errors import StorageError
from igny8_backup.formats import keys
from igny8_backup.formats.manifest import COMPLETE
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.maintain.orphans import find_orphans
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.verify.all_results import AllVerified
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify, verify_all, verify_newest
from igny8_backup.store import UnreachableError, open_store
from tests.operations.clocks import Clock, by_clock

pytestmark = pytest.mark.slow


class HttpError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status_code = status


class Files(FileSystemStorage):
    """Declares a method that Django's documentation tells subclasses to override; its stubs lack it."""

    if TYPE_CHECKING:

        def _open(self, name: str, mode: str = "rb") -> File[Any]: ...


class Withholding(Files):
    """Fails to give the objects whose names contain ``needle``; once it is ``down``, it fails altogether."""

    needle = "nothing"
    status = 403
    down = False

    def _open(self, name: str, mode: str = "rb") -> File[Any]:
        if self.needle in name or self.down:
            raise HttpError(self.status)
        return super()._open(name, mode)

    def listdir(self, path: str) -> Any:
        if self.down:
            raise HttpError(self.status)
        return super().listdir(path)


@pytest.fixture
def storage(tmp_path: Path) -> Withholding:
    return Withholding(location=tmp_path / "storage")


@pytest.fixture
def context(context: BackupContext, storage: Withholding) -> BackupContext:
    """A context with two backups of two trees, one of them verified, in a storage that can fail."""
    found = replace(context, store=open_store(storage, "igny8/"))
    for _ in range(2):
        run_backup(found, BackupRequest(trees=("sites",)))
    return found


each_status = pytest.mark.parametrize("status", [403, 500])


@each_status
def test_manifest_that_is_withheld_is_the_problem_of_its_backup(
    context: BackupContext, storage: Withholding, status: int
) -> None:
    older = context.catalog.entries()[-1].id
    storage.needle, storage.status = keys.manifest_key(older), status
    newest, damaged = context.catalog.entries()
    assert newest.manifest and not newest.problem
    assert damaged.manifest is None and "HttpError" in damaged.problem
    report = find_orphans(context)
    assert report.orphans == () and [entry.id for entry in report.unreadable] == [older]
    assert damaged.id not in prune(context).removed


@each_status
def test_run_record_that_is_withheld_is_left_out(
    context: BackupContext, storage: Withholding, status: int
) -> None:
    older = context.catalog.runs()[-1].id
    storage.needle, storage.status = keys.run_key(older), status
    assert [run.id for run in context.catalog.runs()] == [context.catalog.entries()[0].id]
    result = prune(context)  # what it says may forbid a removal
    assert {block.reason for block in result.plan.blocked} == {f"{keys.run_key(older)} cannot be read"}
    assert not result.removed and not result.complete


@each_status
def test_check_that_is_withheld_is_left_out(
    context: BackupContext, storage: Withholding, status: int
) -> None:
    checked = verify(context, VerifyRequest()).check.id
    other = verify(context, VerifyRequest(backup_id=context.catalog.entries()[-1].id)).check.id
    storage.needle, storage.status = f"checks/{checked}/", status
    assert set(read_annotations(context.store)) == {other}
    result = prune(context)
    assert all(block.reason.startswith(f"checks/{checked}/") for block in result.plan.blocked)
    assert result.plan.blocked and not result.removed


def test_verify_older_packs_that_were_withheld_are_due_again(
    context: BackupContext, storage: Withholding
) -> None:
    clock = Clock(datetime.now(UTC))
    run_backup(by_clock(context, clock), BackupRequest(trees=("sites",), full=True))

    def read() -> tuple[AllVerified, set[str]]:
        fresh = replace(by_clock(context, clock), lists=Lists())
        found = verify_newest(fresh, VerifyRequest(older_packs=True))
        return found, {key for result in found.results for key in result.check.sound or ()}

    read()
    clock.forward(days=30)
    entry = context.catalog.entries()[-1]
    assert entry.manifest
    (pack,) = (item.key for item in entry.manifest.objects() if item.key.endswith("-0001.tar.zst"))
    storage.needle = pack
    found, sound = read()
    assert not found.complete and not found.damaged and pack not in sound
    storage.needle = "nothing"
    clock.forward(days=1)
    found, sound = read()
    assert found.complete and pack in sound, "the share of every day that was missed is read"


@each_status
@pytest.mark.parametrize("part", ["packs/", "sites.index"])
def test_verify_all_names_an_object_that_is_withheld_and_reads_the_others(
    context: BackupContext, storage: Withholding, status: int, part: str
) -> None:
    newest = context.catalog.entries()[0]
    assert newest.manifest
    (tree,) = newest.manifest.trees
    assert tree.index
    storage.needle, storage.status = (tree.index.key if part == "sites.index" else part), status
    found = verify_all(context, VerifyRequest())
    assert not found.complete and not found.damaged
    assert all("HttpError" in text for result in found.results for text in result.unread)
    assert {result.check.id for result in found.results if result.unread} >= {newest.id}
    assert all(result.check.read for result in found.results)
    assert {alarm.reason for alarm in found.alarms} == {"unread"}


def test_verify_all_with_withheld_manifest_goes_on(context: BackupContext, storage: Withholding) -> None:
    newest, older = context.catalog.entries()
    storage.needle = keys.manifest_key(older.id)
    found = verify_all(context, VerifyRequest())
    assert [result.check.id for result in found.results] == [newest.id]
    (text,) = found.unread
    assert text.startswith(f"{older.id}: ")
    assert not found.complete and not found.damaged


CALLS: dict[str, Callable[[BackupContext], object]] = {
    "entries": lambda context: context.catalog.entries(),
    "runs": lambda context: context.catalog.runs(),
    "annotations": lambda context: read_annotations(context.store),
    "orphans": find_orphans,
    "verify_all": lambda context: verify_all(context, VerifyRequest()),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_storage_that_fails_altogether_raises(
    context: BackupContext, storage: Withholding, call: Callable[[BackupContext], object]
) -> None:
    verify(context, VerifyRequest())
    storage.down = True
    with pytest.raises(StorageError, match="Cannot list Withholding"):
        call(context)


@each_status
def test_parent_manifest_that_is_withheld_makes_the_next_backup_full(
    context: BackupContext, storage: Withholding, status: int
) -> None:
    newest = context.catalog.entries()[0].id
    storage.needle, storage.status = f"{newest}/manifest.json", status
    made = run_backup(context, BackupRequest(trees=("sites",)))
    assert made.manifest and made.manifest.trees[0].state == COMPLETE


def test_storage_that_fails_during_a_listing_raises(context: BackupContext, storage: Withholding) -> None:
    class Stops(Withholding):
        def _open(self, name: str, mode: str = "rb") -> File[Any]:
            self.down, self.status = True, 503
            return super()._open(name, mode)

    broken = Catalog(open_store(Stops(location=storage.location), "igny8/"))
    with pytest.raises(UnreachableError):
        broken.entries()
