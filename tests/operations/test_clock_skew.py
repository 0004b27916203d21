"""Clocks that are wrong, and the duplicate ids that they cause."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from igny8_backup.errors import StorageError
from igny8_backup.formats import keys
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from tests.docs.pages import assert_shown
from tests.operations.conftest import Notes

pytestmark = pytest.mark.slow

REQUEST = BackupRequest(trees=("sites",))


def test_backup_id_taken_leaves_the_other_run_alone(context: BackupContext) -> None:
    """The same second and token: by chance, or because a clock was set back on a host with no common lock."""
    now = context.clock()
    same = replace(context, clock=lambda: now, token=lambda: "abcdef")
    first = run_backup(same, REQUEST)
    place = context.store.local_path()
    assert place is not None
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    with pytest.raises(StorageError) as caught:
        run_backup(same, replace(REQUEST, trees=("uploads",)))
    assert_shown(f"CommandError: {caught.value}")
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before
    assert [manifest.id for manifest in context.catalog.manifests()] == [first.id]


def test_backup_id_taken_without_run_record_is_refused(context: BackupContext) -> None:
    now = context.clock()
    same = replace(context, clock=lambda: now, token=lambda: "abcdef")
    first = run_backup(same, REQUEST)
    context.store.delete(keys.run_key(first.id))
    place = context.store.local_path()
    assert place is not None
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    with pytest.raises(
        StorageError, match=f"A backup {first.id} already exists in .* Start the backup again"
    ):
        run_backup(same, REQUEST)
    after = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    record = after.pop(place / keys.run_key(first.id))
    assert after == before
    assert b'"outcome": "failed"' in record
    assert [manifest.id for manifest in context.catalog.manifests()] == [first.id]


def test_backup_clock_set_back_during_the_run_succeeds(context: BackupContext) -> None:
    """The backup is complete nevertheless, and its record has an outcome."""
    now = context.clock()

    class SetsItBack(Notes):
        behind = timedelta(0)

        def begin(self, what: str, total: int | None, count: int | None = None, unit: str = "files") -> None:
            self.behind = timedelta(hours=1)

    notes = SetsItBack()
    made = run_backup(replace(context, clock=lambda: now - notes.behind, progress=notes), REQUEST)
    assert made.manifest and made.manifest.complete and made.id.startswith(keys.stamp(now))
    assert [run.outcome for run in context.catalog.runs()] == ["complete"]
