"""Backup, restore and pruning with an S3 server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest
from django.core.files.storage import FileSystemStorage
from storages.backends.s3 import S3Storage

from igny8_backup.formats import keys
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.monitor.run import monitor
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify
from igny8_backup.store import Retry, Store, open_store, retry
from igny8_backup.store.s3 import S3Store
from tests.docs.pages import assert_shown
from tests.management.commands import run_many
from tests.management.state import differences, of_project
from tests.operations.clocks import NIGHT, Clock, by_clock
from tests.operations.conftest import Notes
from tests.operations.nights import let_time_pass
from tests.operations.test_round_trip import destroy
from tests.services import unavailable
from tests.services.project import Project
from tests.services.proxy import CuttingProxy, error_answer
from tests.services.s3 import RcloneS3, installed

pytestmark = pytest.mark.services


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[RcloneS3]:
    program = installed()
    if program is None:
        unavailable("rclone is not installed.")
    folder = tmp_path / "s3"
    folder.mkdir()
    with RcloneS3(program, folder) as server:
        yield server


def environment(server: RcloneS3) -> dict[str, str]:
    return {
        "IGNY8_BACKUP_S3_BUCKET": server.bucket,
        "IGNY8_BACKUP_S3_ENDPOINT": server.endpoint,
        "IGNY8_BACKUP_S3_ACCESS_KEY": server.access_key,
        "IGNY8_BACKUP_S3_SECRET_KEY": server.secret_key,
        "IGNY8_BACKUP_RETRY_SECONDS": "0",
    }


def test_restore_all_from_s3_restores_the_application(project: Project, s3: RcloneS3) -> None:
    project.seed_small()
    before = of_project(project)
    empty, made, listed = run_many(
        project, ["list_backups"], ["backup_all"], ["list_backups", "--json"], env=environment(s3)
    )
    assert "There is no backup in" in empty.ended(0).stdout and s3.bucket in empty.stdout
    made.ended(0)
    (entry,) = listed.ended(0).json
    assert entry["manifest"]["label"] == ""
    assert not list(project.storage.iterdir())

    destroy(project)
    project.logs.joinpath("worker.log").write_text("a line\n" * 100)
    (restored,) = run_many(
        project, ["restore_all", "--noinput", "--identity", project.identity], env=environment(s3)
    )
    restored.ended(0)
    assert [line for line in differences(before, of_project(project)) if not line.startswith("logs/")] == []

    # Alter one byte of a pack in the bucket.
    (pack,) = (s3.folder / "buckets").rglob("packs/web-1/uploads/*.tar.zst.age")
    data = bytearray(pack.read_bytes())
    data[1000] ^= 1
    pack.write_bytes(data)
    damaged, down = run_many(
        project,
        ["restore_all", "--noinput", "--only", "uploads", "--identity", project.identity],
        ["undo_restore", "--discard", "--noinput"],
        env=environment(s3),
    )
    assert pack.name in damaged.ended(6).stderr
    down.ended(0)


@pytest.mark.parametrize("trouble", ["wrong keys", "no such bucket", "down"])
def test_backup_s3_refused_is_explained(project: Project, s3: RcloneS3, trouble: str) -> None:
    env = environment(s3)
    secret = env["IGNY8_BACKUP_S3_SECRET_KEY"]
    if trouble == "wrong keys":
        env["IGNY8_BACKUP_S3_SECRET_KEY"] = secret[:-1]
    elif trouble == "no such bucket":
        env["IGNY8_BACKUP_S3_BUCKET"] = "another"
    else:
        s3.stop()
    for done in run_many(project, ["list_backups"], ["backup_sites", "--json"], ["restore_all"], env=env):
        assert done.ended(1).stderr.startswith("CommandError: ")
        assert secret[:-1] not in done.output
        if done.argv[0] == ("list_backups" if trouble == "down" else "backup_sites"):
            assert_shown(done.stderr)
        if done.argv[0] == "backup_sites":
            assert done.json["error"] in ("StorageError", "UnreachableError")


def test_prune_unfinished_s3_upload_is_aborted_later(context: BackupContext, s3: RcloneS3) -> None:
    clock = Clock()
    with S3Store(S3Storage(**s3.options()), "igny8/") as store:
        bucket = by_clock(replace(context, store=store), clock)
        made = run_backup(bucket, BackupRequest(trees=("sites",)))
        ours = keys.pack_key("web-1", "sites", keys.pack_name(keys.make_id(NIGHT, "00dead"), 1), ".zst")
        client = s3.client()
        for key in (ours, "somebody/else"):
            client.create_multipart_upload(Bucket=s3.bucket, Key=f"igny8/{key}")
        client.close()
        assert [(item.key, bool(item.upload_id)) for item in prune(bucket).waiting] == [(ours, True)]
        assert len(store.abandoned_uploads()) == 2
        clock.forward(hours=21)
        assert [item.key for item in prune(bucket).swept] == [ours]
        assert [item.key for item in store.abandoned_uploads()] == ["somebody/else"]
        assert [entry.id for entry in bucket.catalog.entries()] == [made.id]


def test_monitor_s3_notices_deleted_objects_and_manifests(context: BackupContext, s3: RcloneS3) -> None:
    with S3Store(S3Storage(**s3.options()), "igny8/") as store:
        bucket = replace(context, store=store, own_store=store)
        made = [run_backup(bucket, BackupRequest(trees=("sites", "uploads"), full=True)) for _ in range(2)]
        assert not monitor(bucket).failed
        first, second = (bucket.catalog.get(item.id) for item in made)
        store.delete(first.trees[0].packs[0].key)
        failed = {(item.name, item.of) for item in monitor(bucket).failed}
        assert failed == {("objects", "files sites of web-1")}
        store.delete(keys.manifest_key(second.id))
        failed = {(item.name, item.of) for item in monitor(bucket).failed}
        assert ("lost", "host web-1") in failed and ("age", "files sites of web-1") in failed


def test_backup_unchanged_tree_s3_requests_are_few(context: BackupContext, s3: RcloneS3) -> None:
    with (
        CuttingProxy(s3.port) as proxy,
        S3Store(S3Storage(**s3.options(proxy.endpoint)), "igny8/") as store,
    ):
        bucket = replace(context, store=store, own_store=store)
        before = run_backup(bucket, BackupRequest(trees=("sites",)))
        let_time_pass(bucket, "sites")
        proxy.forget()
        made = run_backup(bucket, BackupRequest(trees=("sites",)))
        asked = [unquote(request) for request in proxy.asked]
    assert made.manifest and not made.manifest.trees[0].full
    listing = f"GET /{s3.bucket}?list-type=2&prefix=igny8/"
    runs, tops, backups, packs = (
        f"{listing}runs/&encoding-type=url",
        f"{listing}&delimiter=/&encoding-type=url",
        f"{listing}backups/&delimiter=/&encoding-type=url",
        f"{listing}packs/web-1/sites/&encoding-type=url",
    )
    top = f"/{s3.bucket}/igny8"
    run, folder = f"{top}/runs/{made.id}.json", f"{top}/backups/{made.id}"
    pack_list = f"{top}/packs/web-1/{before.id}-0001.json"
    (claim,) = {request.split()[1] for request in asked if request.startswith(f"PUT {top}/locks/")}
    locks = f"{listing}locks/&encoding-type=url"
    bucket_itself = f"GET /{s3.bucket}"
    tree_folders = f"{listing}packs/web-1/&delimiter=/&encoding-type=url"
    at = asked.index(tree_folders) + 1
    asked[at : at + 3], asked[at + 5 : at + 7] = sorted(asked[at : at + 3]), sorted(asked[at + 5 : at + 7])
    assert asked == [
        *(locks, f"PUT {claim}", locks),  # no other host is at work
        f"HEAD {top}/backups/{before.id}/manifest.json",  # the last backup of this host is there
        # Without encryption: can everybody read the bucket?
        *(f"{bucket_itself}?publicAccessBlock", f"{bucket_itself}?policyStatus", f"{bucket_itself}?acl"),
        *(f"HEAD {run}", f"PUT {run}", f"HEAD {run}"),  # the id is free; claim it; the claim is stored
        runs,  # the storage lists the claim,
        tops,  # with its folder,
        f"GET {run}",  # and returns it
        backups,  # no backup has this id, and none is dated in the future
        # What is there already, for the comparison of sizes and the parent backup: folders side by side,
        *(f"{listing}packs/&delimiter=/&encoding-type=url", tree_folders),
        *sorted([packs, f"{listing}checks/&encoding-type=url", f"{listing}removed/&encoding-type=url"]),
        *(runs, f"{listing}backups/&encoding-type=url"),
        # and what was written since the last run of this host: its manifest, and its list of packs.
        *sorted([f"GET {top}/backups/{before.id}/manifest.json", f"GET {pack_list}"]),
        f"GET {top}/damage.json",
        *(f"PUT {folder}/files/sites.folders.tar.zst", f"HEAD {folder}/files/sites.folders.tar.zst"),
        *(f"PUT {folder}/files/sites.index.zst", f"HEAD {folder}/files/sites.index.zst"),
        *(packs, f"HEAD {pack_list}"),  # all packs that the manifest will name still exist, and their list
        *(f"PUT {folder}/details.json.zst", f"HEAD {folder}/details.json.zst"),
        *(f"HEAD {folder}/manifest.json", f"PUT {folder}/manifest.json", f"HEAD {folder}/manifest.json"),
        *(f"PUT {run}", f"DELETE {claim}"),  # the outcome
    ]


def with_storage(context: BackupContext, store: Store, notes: Notes) -> BackupContext:
    return replace(context, store=store, own_store=store, progress=notes)


def test_backup_s3_outage_is_reported_and_survived(context: BackupContext, s3: RcloneS3) -> None:
    notes = Notes()
    with (
        CuttingProxy(s3.port) as proxy,
        S3Store(
            S3Storage(**s3.options(proxy.endpoint)),
            "igny8/",
            Retry(300, first_pause=0.01, report=notes.note),
        ) as store,
    ):
        for needle in (b"PUT ", b"GET ", b"HEAD ", b"list-type"):
            proxy.forge_answer(needle, error_answer(503, "SlowDown"), times=4)
        made = run_backup(with_storage(context, store, notes), BackupRequest(trees=("sites",)))
        assert made.complete
        assert verify(with_storage(context, store, notes), VerifyRequest()).findings == ()
    assert "Retrying for up to 5 minutes." in notes.texts[0]
    assert notes.texts[1].startswith("The storage answers again after")


@contextmanager
def brief_store(s3: RcloneS3, notes: Notes) -> Iterator[tuple[CuttingProxy, S3Store]]:
    """A store behind a proxy, with the short patience of a monitor. Only what must fail may use it."""
    with CuttingProxy(s3.port) as proxy:
        storage = S3Storage(**s3.options(proxy.endpoint))
        with S3Store(storage, "igny8/", Retry.brief(300, report=notes.note)) as store:
            yield proxy, store


def behind(s3: RcloneS3) -> Store:
    """The bucket as the folder in which the server keeps it, which is faster to fill and never too slow."""
    return open_store(FileSystemStorage(location=s3.folder / "buckets" / s3.bucket), "igny8/")


@pytest.mark.parametrize("trouble", ["silence", "one byte at a time", "503"])
def test_monitor_storage_that_hangs_is_a_failed_condition(
    context: BackupContext, s3: RcloneS3, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """The patience of a monitor is short: 20 seconds for a request, 10 for an answer; here less."""
    monkeypatch.setattr(retry, "BRIEF_SECONDS", 1.0)
    monkeypatch.setattr(retry, "BRIEF_ANSWER", 0.3)
    notes = Notes()
    with brief_store(s3, notes) as (proxy, store):
        if trouble == "silence":
            proxy.withhold_answer(b"", times=10_000)
        elif trouble == "503":
            proxy.answer_always(b"", error_answer(503, "SlowDown"))
        else:
            for _ in range(100):
                proxy.drip_answer(b"")
        health = monitor(with_storage(context, store, notes))
    (condition,) = health.failed
    assert condition.name == "storage"
    assert ("SlowDown" if trouble == "503" else "the server did not answer in time") in condition.text
    assert "attempts within" in condition.text


def test_monitor_objects_that_hang_do_not_hold_it_up(
    context: BackupContext, s3: RcloneS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    with behind(s3) as folder:
        for _ in range(12):
            run_backup(with_storage(context, folder, Notes()), BackupRequest(trees=("sites",)))
    monkeypatch.setattr(retry, "BRIEF_SECONDS", 0.5)
    monkeypatch.setattr(retry, "BRIEF_ANSWER", 1.0)
    notes = Notes()
    with brief_store(s3, notes) as (proxy, store):
        proxy.withhold_answer(b"manifest.json", times=10_000)
        store.readers = 4
        health = monitor(with_storage(context, store, notes))
        asked = sum("manifest.json" in request for request in proxy.asked)
    assert [item.name for item in health.failed] == ["storage"]
    assert re.search("did not answer in time|has not answered", health.failed[0].text)
    assert 0 < asked < 12
