"""Prune collects the documents of a storage, and an empty machine reads them with few requests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest
from storages.backends.s3 import S3Storage

from benchmarks.listing_server import ListingS3
from benchmarks.s3_answers import Object, storage_options
from benchmarks.stored_data import make_storage
from igny8_backup.catalog.snapshot import collected, snapshot_store
from igny8_backup.formats import keys
from igny8_backup.formats.keys import COLLECTED
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.read import read_history
from igny8_backup.operations.maintain.orphans import find_orphans
from igny8_backup.operations.maintain.pruning import collect
from igny8_backup.operations.maintain.pruning.collect import collect_documents
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.monitor.run import monitor
from igny8_backup.operations.read.snapshot import take_snapshot
from igny8_backup.retention.rules import Policy
from igny8_backup.store.s3 import S3Store
from tests.operations.conftest import Notes
from tests.operations.read.test_snapshot import folder_of, on_s3
from tests.operations.signed import REQUEST
from tests.operations.test_s3 import s3  # noqa: F401 - a fixture
from tests.services.moto import MotoServer
from tests.services.proxy import CuttingProxy, error_answer
from tests.services.s3 import RcloneS3

pytestmark = pytest.mark.services

BACKUPS = 40
"""Each has three documents: a manifest, a run record, and a list of packs."""
KEEP_ALL = Policy(last=10_000)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collect the documents of a small storage too."""
    monkeypatch.setattr(collect, "LEAST", 3 * BACKUPS)


def on_machine(context: BackupContext, state: Path) -> BackupContext:
    """The context on a machine that has read nothing but what is in ``state``."""
    return replace(context, config=replace(context.config, state_dir=state, retention=KEEP_ALL))


def about(proxy: CuttingProxy, method: str) -> list[str]:
    return [one for one in proxy.asked if one.startswith(method) and one.endswith(COLLECTED)]


def test_empty_machine_reads_what_prune_has_collected(
    context: BackupContext,
    s3: RcloneS3,  # noqa: F811 - a fixture
    tmp_path: Path,
) -> None:
    make_storage(folder_of(s3), BACKUPS, datetime.now(UTC) - timedelta(hours=1))
    with on_s3(context, s3) as (bucket, proxy):
        bucket = on_machine(bucket, tmp_path / "state-1")
        prune(bucket, dry_run=True)
        assert not bucket.store.exists(COLLECTED), "a dry run writes nothing"
        assert prune(bucket).complete
        assert bucket.store.exists(COLLECTED)
        truth, health = read_history(bucket), monitor(bucket)
        stored = len([*bucket.store.list()])

        operations: tuple[Callable[[BackupContext], object], ...] = (read_history, monitor)
        for number, operation in enumerate(operations, start=2):
            proxy.forget()
            operation(on_machine(bucket, tmp_path / f"state-{number}"))
            assert len(proxy.asked) <= stored / 1000 * 1.2 + 30 < BACKUPS, proxy.asked
        empty = on_machine(bucket, tmp_path / "state-4")
        found = read_history(empty)
        assert (found.entries, found.standings.copies) == (truth.entries, truth.standings.copies)
        assert [item.of for item in monitor(empty).failed] == [item.of for item in health.failed]

        assert COLLECTED not in {item.key for item in find_orphans(bucket).orphans}
        assert COLLECTED not in {item.key for item in prune(bucket).waiting}


def test_prune_collects_again_once_many_documents_are_new(
    context: BackupContext,
    s3: RcloneS3,  # noqa: F811 - a fixture
    tmp_path: Path,
) -> None:
    now = datetime.now(UTC)
    make_storage(folder_of(s3), BACKUPS, now - timedelta(days=30))
    for path in folder_of(s3).rglob("*.json"):
        path.touch()
    with on_s3(context, s3) as (bucket, proxy):
        bucket = on_machine(bucket, tmp_path / "state")
        prune(bucket)
        prune(bucket)
        assert len(about(proxy, "PUT")) == 1, "nothing is new"
        # A tenth of the documents is new, and then one more.
        future = (now + timedelta(hours=1)).timestamp()
        changed = sorted(folder_of(s3).rglob("manifest.json"))
        for number, collected_again in ((3 * BACKUPS // 10, False), (3 * BACKUPS // 10 + 1, True)):
            for path in changed[:number]:
                os.utime(path, (future, future))
            before = len(about(proxy, "PUT"))
            prune(bucket)
            assert (len(about(proxy, "PUT")) > before) is collected_again


def test_prune_is_complete_if_the_documents_cannot_be_collected(
    context: BackupContext,
    s3: RcloneS3,  # noqa: F811 - a fixture
    tmp_path: Path,
) -> None:
    make_storage(folder_of(s3), BACKUPS, datetime.now(UTC) - timedelta(hours=1))
    with on_s3(context, s3) as (bucket, proxy):
        notes = Notes()
        bucket = replace(on_machine(bucket, tmp_path / "state"), progress=notes)
        refused = error_answer(403, "AccessDenied")
        proxy.answer_always(f"PUT /{s3.bucket}/igny8/{COLLECTED}".encode(), refused)
        result = prune(bucket)
        assert result.complete and not result.problem
        (note,) = (text for text in notes.texts if COLLECTED in text)
        assert "not renewed" in note and "The next prune_backups tries again." in note and "\n" not in note
        assert not bucket.store.exists(COLLECTED)


def test_prune_of_a_machine_that_knows_few_documents_keeps_the_collected_ones(
    context: BackupContext,
    s3: RcloneS3,  # noqa: F811 - a fixture
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_storage(folder_of(s3), BACKUPS, datetime.now(UTC) - timedelta(hours=1))
    with on_s3(context, s3) as (bucket, _):
        bucket = on_machine(bucket, tmp_path / "state")
        snapshot = take_snapshot(bucket)
        snapshot.catalog.entries(entry.id for entry in bucket.catalog.entries()[:10])
        [*snapshot.store.list()]
        monkeypatch.setattr(collect, "LEAST", 1)
        collect_documents(bucket, snapshot)
        assert not bucket.store.exists(COLLECTED)


def test_prune_stores_no_object_that_is_too_large_to_be_read(
    context: BackupContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "bucket"
    make_storage(root / "igny8", BACKUPS, datetime.now(UTC) - timedelta(hours=1))
    with (
        ListingS3(root, 0) as server,
        S3Store(S3Storage(**storage_options(server.endpoint)), "igny8/") as store,
    ):
        bucket = on_machine(replace(context, store=store, own_store=store), tmp_path / "state-1")
        for limit, stored in ((1000, False), (collected.LARGEST_OBJECT, True)):
            monkeypatch.setattr(collected, "LARGEST_OBJECT", limit)
            prune(bucket)
            assert store.exists(COLLECTED) is stored


def test_prune_of_a_folder_collects_nothing(context: BackupContext, tmp_path: Path) -> None:
    make_storage(tmp_path / "storage" / "igny8", BACKUPS, datetime.now(UTC) - timedelta(hours=1))
    assert prune(on_machine(context, tmp_path / "state-1")).complete
    assert not context.store.exists(COLLECTED)


class OtherTags(ListingS3):
    """A server whose tags look like MD5 digests and are none, as with a key of KMS."""

    def _keep(self, key: str, data: bytes, modified: datetime) -> Object:
        digest = md5(key.encode() + data, usedforsecurity=False).hexdigest()
        made = self.objects[key] = Object(len(data), f'"{digest}"', data, modified)
        self._entries[key] = made.entry(key)
        return made


def test_prune_collects_nothing_if_tags_are_no_digests(context: BackupContext, tmp_path: Path) -> None:
    root = tmp_path / "bucket"
    make_storage(root / "igny8", BACKUPS, datetime.now(UTC) - timedelta(hours=1))
    with (
        OtherTags(root, 0) as server,
        S3Store(S3Storage(**storage_options(server.endpoint)), "igny8/") as store,
    ):
        assert all(item.md5 for item in store.list(keys.RUNS))
        bucket = on_machine(replace(context, store=store, own_store=store), tmp_path / "state-1")
        assert prune(bucket).complete
        assert not store.exists(COLLECTED)


def test_collected_documents_of_a_locking_bucket_are_not_locked(
    context: BackupContext, moto_server: MotoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bucket keeps versions, and this process removes those that it has written."""
    monkeypatch.setattr(collect, "LEAST", 1)
    with S3Store(S3Storage(**moto_server.options(moto_server.bucket(lock=True))), "igny8/") as store:
        bucket = on_machine(replace(context, store=store, own_store=store), tmp_path / "state-1")
        for _ in range(2):
            run_backup(bucket, REQUEST)
            prune(bucket)
        assert len(store.versions(COLLECTED)) == 1
        assert store.locked_until(COLLECTED) is None
        assert len(read_history(on_machine(bucket, tmp_path / "state-2")).entries) == 2


@contextmanager
def signed_bucket(host: Any, store: S3Store, state: Path) -> Iterator[BackupContext]:
    with host(signs="web", trusts=["web"]) as found:
        yield on_machine(replace(found, store=store, own_store=store), state)


def test_signatures_decide_about_collected_documents(
    host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "LEAST", 1)
    monkeypatch.setattr(snapshot_store, "MANY", 0)
    (tmp_path / "bucket").mkdir()
    with (
        ListingS3(tmp_path / "bucket", 0) as server,
        CuttingProxy(server.server_port) as proxy,
        S3Store(S3Storage(**storage_options(proxy.endpoint)), "igny8/") as store,
    ):
        with signed_bucket(host, store, tmp_path / "state-1") as context:
            made = [run_backup(context, REQUEST).id for _ in range(2)]
            forged = keys.manifest_key(made[0])
            store.put_small(forged, store.read_small(forged).replace(b'"label": ""', b'"label": "x"'))
            read_history(context)
            prune(context)
        proxy.forget()
        with signed_bucket(host, store, tmp_path / "state-2") as context:
            entries = {entry.id: entry for entry in read_history(context).entries}
        assert not [one for one in proxy.asked if one.endswith(("manifest.json", ".sig"))], (
            "they are collected"
        )
        assert about(proxy, "GET")
        assert entries[made[0]].untrusted and not entries[made[1]].untrusted


def test_prune_believes_no_copy_if_the_storage_has_lost_the_document(
    context: BackupContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The storage lists a manifest as before, but what it gives back is damaged."""
    monkeypatch.setattr(snapshot_store, "MANY", 0)
    root = tmp_path / "bucket"
    make_storage(root / "igny8", BACKUPS, datetime.now(UTC) - timedelta(hours=1))
    with (
        ListingS3(root, 0) as server,
        S3Store(S3Storage(**storage_options(server.endpoint)), "igny8/") as store,
    ):
        bucket = on_machine(replace(context, store=store, own_store=store), tmp_path / "state-1")
        prune(bucket)
        newest = read_history(bucket).entries[0].id
        damaged = server.objects[f"igny8/{keys.manifest_key(newest)}"]
        damaged.data = b"x" * damaged.size
        empty = on_machine(bucket, tmp_path / "state-2")
        assert read_history(empty).entries[0].manifest, "the copy is read"
        assert prune(empty, dry_run=True).unreadable == (newest,)
