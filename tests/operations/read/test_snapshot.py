"""Operations that read everything need few requests, and believe no cache that lies."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from storages.backends.s3 import S3Storage

from benchmarks.stored_data import HOST, make_storage
from igny8_backup.catalog.given import Given
from igny8_backup.catalog.select import Selection
from igny8_backup.catalog.snapshot.document_cache import DocumentCache
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.read import read_history
from igny8_backup.operations.history.select_copies import select_copies
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.monitor.run import monitor
from igny8_backup.operations.read.snapshot import snapshot_store, take_snapshot, without_snapshot
from igny8_backup.operations.restore.planning.plan import RestoreRequest
from igny8_backup.operations.restore.planning.planner import plan_restore
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify
from igny8_backup.retention.rules import Policy
from igny8_backup.store import Stored
from igny8_backup.store.s3 import S3Store
from tests.operations.test_s3 import s3  # noqa: F401 - a fixture
from tests.services.proxy import CuttingProxy
from tests.services.s3 import RcloneS3

BACKUPS = 40


@contextmanager
def on_s3(context: BackupContext, server: RcloneS3) -> Iterator[tuple[BackupContext, CuttingProxy]]:
    """The context with the bucket as its storage, and a proxy that counts the requests."""
    with (
        CuttingProxy(server.port) as proxy,
        S3Store(S3Storage(**server.options(proxy.endpoint)), "igny8/") as store,
    ):
        yield replace(context, store=store, own_store=store), proxy


def folder_of(server: RcloneS3) -> Path:
    return server.folder / "buckets" / server.bucket / "igny8"


@pytest.mark.services
@pytest.mark.slow
def test_operations_need_few_requests_for_documents_read_before(
    context: BackupContext,
    s3: RcloneS3,  # noqa: F811 - a fixture
) -> None:
    make_storage(folder_of(s3), BACKUPS, datetime.now(UTC) - timedelta(hours=1))
    operations: dict[str, Callable[[BackupContext], object]] = {
        "list": read_history,
        "monitor": monitor,
        "prune": lambda bucket: prune(bucket, dry_run=True).plan,
        "backup": lambda bucket: run_backup(bucket, BackupRequest(trees=("sites",))),
    }
    with on_s3(context, s3) as (bucket, proxy):
        stored = len([*bucket.store.list()])
        assert stored // 1000 * 1.2 + 30 < BACKUPS  # reading each manifest once would be too much
        monitor(bucket)
        for name, operation in operations.items():
            proxy.forget()
            operation(bucket)
            asked = proxy.asked
            # A backup is about to store its first file once it has read everything.
            ends = (number for number, one in enumerate(asked) if one.startswith(f"PUT /{s3.bucket}/igny8/p"))
            asked = asked[: next(ends, len(asked))]
            assert len(asked) <= stored / 1000 * 1.2 + 30, (name, len(asked), *asked)


@pytest.mark.services
@pytest.mark.parametrize("operation", [monitor, lambda bucket: prune(bucket, dry_run=True)])
def test_operations_read_each_kept_document_once(
    context: BackupContext,
    s3: RcloneS3,  # noqa: F811 - a fixture
    monkeypatch: pytest.MonkeyPatch,
    operation: Callable[[BackupContext], object],
) -> None:
    make_storage(folder_of(s3), 8, datetime.now(UTC) - timedelta(hours=1))
    times: Counter[str] = Counter()
    read = DocumentCache.read

    def counted(cache: DocumentCache, listed: Iterable[Stored]) -> dict[str, bytes]:
        items = list(listed)
        times.update(item.key for item in items)
        return read(cache, items)

    with on_s3(context, s3) as (bucket, _):
        monitor(bucket)
        monkeypatch.setattr(DocumentCache, "read", counted)
        operation(bucket)
    assert len(times) == 24 and set(times.values()) == {1}, times


@pytest.mark.services
def test_snapshot_lists_keys_as_it_lists_objects(context: BackupContext, s3: RcloneS3) -> None:  # noqa: F811 - a fixture
    make_storage(folder_of(s3), 8, datetime.now(UTC) - timedelta(hours=1))
    with on_s3(context, s3) as (bucket, _):
        for key in ("marks.json", "fleets/x.json", "a", "zz/z", "runs.txt"):
            bucket.store.put_small(key, b"{}")
        snapshot = snapshot_store(take_snapshot(bucket))
        listed = [item.key for item in bucket.store.list()]
        assert [item.key for item in snapshot.list()] == snapshot.listed_keys() == listed
        for folder in ("backups/", "runs/", "fleets/", f"packs/{HOST}/", "nothing/"):
            below = [key for key in listed if key.startswith(folder)]
            assert snapshot.listed_keys(folder) == [item.key for item in snapshot.list(folder)] == below


@pytest.mark.services
def test_cache_that_lies_costs_requests_only(context: BackupContext, s3: RcloneS3) -> None:  # noqa: F811 - a fixture
    make_storage(folder_of(s3), 8, datetime.now(UTC) - timedelta(hours=1))
    with on_s3(context, s3) as (bucket, proxy):
        truth = read_history(bucket).entries
        (cache,) = (bucket.config.state_dir / "documents").iterdir()
        altered = bytearray(cache.read_bytes())
        chosen = random.Random(18)
        for _ in range(200):
            altered[chosen.randrange(4096, len(altered))] ^= 0xFF
        cache.write_bytes(altered)
        proxy.forget()
        assert read_history(bucket).entries == truth
        assert any("manifest.json" in one for one in proxy.asked)


def hide(context: BackupContext, backup_id: str) -> None:
    """Spoil a manifest that this host has kept, so that the storage lists it as before."""
    key = keys.manifest_key(backup_id)
    document = context.store.read_small(key)
    context.store.put_small(key, b"x" * len(document))
    (listed,) = (item for item in context.store.list(keys.backup_folder(backup_id)) if item.key == key)
    documents = DocumentCache(context.config.state_dir, context.store.identity())
    documents.write({listed: document}, {key})


def unreadable(context: BackupContext) -> list[str]:
    """Return the ids of the backups that a listing shows as unreadable."""
    return [entry.id for entry in read_history(context).entries if not entry.manifest]


@pytest.mark.services
def test_prune_reads_the_manifests_that_let_it_remove_others_from_the_storage(
    context: BackupContext,
    s3: RcloneS3,  # noqa: F811 - a fixture
) -> None:
    make_storage(folder_of(s3), 8, datetime.now(UTC) - timedelta(hours=1))
    with on_s3(context, s3) as (bucket, _):
        policy = replace(bucket.config, retention=Policy(last=1, proven=0))
        bucket = replace(bucket, config=policy)
        newest, before, *_ = (entry.id for entry in bucket.catalog.entries())

        hide(bucket, newest)
        assert unreadable(bucket) == [], "the storage is not asked"
        result = prune(bucket, dry_run=True)
        assert newest in result.unreadable and before not in result.plan.to_remove
        assert unreadable(bucket) == [newest]
        hide(bucket, before)
        with pytest.raises(IntegrityError):
            verify(bucket, VerifyRequest(backup_id=before))
        assert unreadable(bucket) == [newest, before]


@pytest.mark.services
def test_restores_read_the_manifests_that_they_use_from_the_storage(
    context: BackupContext,
    s3: RcloneS3,  # noqa: F811 - a fixture
) -> None:
    make_storage(folder_of(s3), 4, datetime.now(UTC) - timedelta(hours=1))
    with on_s3(context, s3) as (bucket, _):
        newest, before, oldest, *_ = (entry.id for entry in bucket.catalog.entries())
        tree, *_ = (item.name for item in bucket.catalog.get(newest).trees)
        host = bucket.catalog.get(newest).host

        def select(given: Given | None = None) -> Selection:
            return select_copies(bucket, given, databases=(), trees=(tree,), from_host=host)

        hide(bucket, newest)
        assert unreadable(bucket) == [], "the storage is not asked"
        selected = select()
        assert [manifest.id for manifest, _ in selected.trees] == [before]
        assert newest in selected.notes[0] and "cannot be read" in selected.notes[0]
        assert unreadable(bucket) == [newest]
        hide(bucket, oldest)
        assert [manifest.id for manifest, _ in select().trees] == [before]
        assert unreadable(bucket) == [newest], "its manifest was not used"
        with pytest.raises(IntegrityError):
            plan_restore(bucket, RestoreRequest(backup_id=oldest))
        assert unreadable(bucket) == [newest, oldest]


@pytest.mark.services
def test_snapshot_reads_a_document_that_was_replaced(context: BackupContext, s3: RcloneS3) -> None:  # noqa: F811 - a fixture
    make_storage(folder_of(s3), 2, datetime.now(UTC) - timedelta(hours=1))
    with on_s3(context, s3) as (bucket, _):
        first, second = take_snapshot(bucket).catalog.entries()
        key = keys.manifest_key(second.id)
        document = bucket.store.read_small(key)
        bucket.store.put_small(key, document.replace(b'"benchmark"', b'"benchmerk"'))
        later = take_snapshot(bucket).catalog.entries()
        assert later[0] == first
        assert later[1].manifest and later[1].manifest.environment == "benchmerk"


@pytest.mark.services
def test_snapshot_shows_one_moment_and_current_shows_now(
    context: BackupContext,
    s3: RcloneS3,  # noqa: F811 - a fixture
) -> None:
    make_storage(folder_of(s3), 2, datetime.now(UTC) - timedelta(hours=1))
    with on_s3(context, s3) as (bucket, _):
        snapshot = take_snapshot(bucket)
        assert take_snapshot(snapshot) is snapshot
        assert without_snapshot(bucket) is bucket
        (newest, _), everything = snapshot.catalog.entries(), [*snapshot.store.list()]
        # To save memory, a snapshot keeps the tags of documents only.
        assert everything == [
            item if item.key.endswith((".json", ".sig")) else item._replace(tag="", mtime_ns=0)
            for item in bucket.store.list()
        ]
        assert snapshot.store.list_dirs() == bucket.store.list_dirs()
        assert snapshot.store.list_dirs(keys.PACKS) == bucket.store.list_dirs(keys.PACKS)
        bucket.store.delete(keys.manifest_key(newest.id))
        assert [*snapshot.store.list()] == everything
        assert newest in snapshot.catalog.entries()
        assert not snapshot.store.exists(keys.manifest_key(newest.id))
        assert newest not in without_snapshot(snapshot).catalog.entries()
        with pytest.raises(NotImplementedError):
            snapshot.store.put_small(keys.MARKS, b"")
