"""Backups in a bucket that keeps versions: what somebody overwrote or deleted is found again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.errors import StorageError
from igny8_backup.formats import keys
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext, open_context
from igny8_backup.operations.extract.plan import ExtractRequest, plan_extract, run_extract
from igny8_backup.operations.maintain.accept import accept_loss
from igny8_backup.operations.maintain.orphans import find_orphans
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.monitor.run import monitor
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify
from tests.operations.clocks import Clock
from tests.operations.conftest import Notes
from tests.services.moto import MotoServer
from tests.store.s3.test_versions import next_second


@dataclass
class Attacked:
    """A bucket that keeps versions, which this host uses and somebody else writes to."""

    name: str
    client: Any
    settings: Any

    @contextmanager
    def open(self, **options: Any) -> Iterator[BackupContext]:
        with open_context(progress=Notes(), **options) as found:
            yield found

    def overwrite(self, key: str, body: bytes = b"encrypted by an attacker") -> None:
        self.client.put_object(Bucket=self.name, Key=f"igny8/{key}", Body=body)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=f"igny8/{key}")

    def listed(self) -> list[tuple[str, int | None]]:
        """Return the keys and sizes of all versions, and of all markers, whose size is ``None``."""
        found = self.client.list_object_versions(Bucket=self.name)
        items = (*found.get("Versions", ()), *found.get("DeleteMarkers", ()))
        return [(item["Key"].removeprefix("igny8/"), item.get("Size")) for item in items]


@pytest.fixture
def bucket(context: BackupContext, settings: Any, moto_server: MotoServer) -> Iterator[Attacked]:
    name, client = moto_server.bucket(), moto_server.client()
    options = moto_server.options(name)
    settings.STORAGES = {
        **settings.STORAGES,
        "dbbackup": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options},
    }
    yield Attacked(name, client, settings)
    client.close()


def backup(context: BackupContext) -> str:
    return run_backup(context, BackupRequest(trees=("sites", "uploads"), full=True)).id


def objects(context: BackupContext, backup_id: str) -> list[str]:
    return [item.key for item in context.catalog.get(backup_id).objects()]


def test_backup_and_prune_leave_no_old_versions(bucket: Attacked, settings: Any) -> None:
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "RETENTION": {"last": 1}}
    clock = Clock()
    with bucket.open(clock=clock) as context:
        for _ in range(2):
            clock.forward(days=1)
            last = backup(context)
        assert len(prune(context).removed) == 1
        clock.forward(days=1)
        swept = prune(context).swept
        assert {item.key.split("/")[0] for item in swept} == {"packs"}
        expected = {keys.manifest_key(last), *objects(context, last)}
    listed = bucket.listed()
    assert None not in {size for _, size in listed}, "no markers"
    data = [key for key, _ in listed if key.startswith((keys.BACKUPS, keys.PACKS))]
    assert sorted(data) == sorted(expected)
    assert not [key for key, _ in listed if key.startswith(keys.LOCKS)]


@pytest.mark.parametrize("harm", ["overwrite", "delete"])
def test_objects_that_somebody_overwrote_or_deleted_are_read_from_their_version(
    bucket: Attacked, trees: tuple[Path, Path], tmp_path: Path, harm: str
) -> None:
    with bucket.open() as context:
        backup_id = backup(context)
        pages = {path.relative_to(trees[0]): path.read_text() for path in trees[0].rglob("page")}
        for key in objects(context, backup_id):
            getattr(bucket, harm)(key)
    with bucket.open() as context:
        for depth in ("stored", "content"):
            result = verify(context, VerifyRequest(backup_id=backup_id, depth=depth))
            assert result.findings == () and result.failure == ""
        assert not [item for item in monitor(context).conditions if item.name == "damage" and not item.ok]
        request = ExtractRequest(backup_id=backup_id, to_dir=tmp_path / "new")
        run_extract(context, plan_extract(context, request))
        notes = context.progress.texts  # type: ignore[attr-defined]  # Notes, of the fixture
    found = {
        path.relative_to(tmp_path / "new/sites"): path for path in (tmp_path / "new/sites").rglob("page")
    }
    assert {name: path.read_text() for name, path in found.items()} == pages
    assert any("was overwritten or deleted in the storage" in note for note in notes)


def test_as_of_restores_what_was_there_before_the_bucket_was_emptied(
    bucket: Attacked, trees: tuple[Path, Path], tmp_path: Path
) -> None:
    with bucket.open() as context:
        backup_id = backup(context)
        moment = next_second()
        for key in [item.key for item in context.store.list()]:
            bucket.delete(key)
        assert context.catalog.entries() == []
    with bucket.open(as_of=moment) as context:
        assert [entry.id for entry in context.catalog.entries()] == [backup_id]
        run_extract(context, plan_extract(context, ExtractRequest(to_dir=tmp_path / "new")))
        with pytest.raises(StorageError, match="can only be read"):
            context.store.put_small("a", b"data")
    assert (tmp_path / "new/sites/a/page").read_text() == (trees[0] / "a/page").read_text()
    with bucket.open(as_of=datetime.now(UTC) - timedelta(days=1)) as context:
        assert context.catalog.entries() == []


def test_sweep_keeps_what_a_manifest_names_that_somebody_deleted(bucket: Attacked) -> None:
    clock = Clock()
    with bucket.open(clock=clock) as context:
        first = backup(context)
        named = objects(context, first)
        for key in (keys.manifest_key(first), keys.run_key(first)):
            bucket.delete(key)
        clock.forward(days=1)
        second = backup(context)
        clock.forward(days=1)
        third = backup(context)  # the last backup that this host remembers is another one
        assert find_orphans(context).lost == (first,)
        for _ in range(3):
            clock.forward(days=1)
            result = prune(context)
            assert not (result.swept or result.removed or result.complete)
            (text,) = result.lost
            assert first in text and "accept_backup" in text
        assert all(context.store.exists(key) for key in named)
        assert [entry.id for entry in context.catalog.entries()] == [third, second]
        accept_loss(context, first)
        assert prune(context).lost == ()


def test_pruned_backup_whose_versions_may_not_be_deleted_is_not_reported_as_deleted(
    bucket: Attacked, settings: Any
) -> None:
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "RETENTION": {"last": 1}}
    clock = Clock()
    with bucket.open(clock=clock) as context:
        first = backup(context)
        clock.forward(days=1)
        backup(context)
        manifest = context.store.read_small(keys.manifest_key(first))
        assert prune(context).removed == (first,)
        # As it is left where s3:DeleteObjectVersion is not granted: markers over the manifest and the record.
        bucket.overwrite(keys.manifest_key(first), manifest)
        for key in (keys.manifest_key(first), keys.run_key(first)):
            bucket.delete(key)
        assert find_orphans(context).lost == ()
