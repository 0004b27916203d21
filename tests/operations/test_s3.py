"""Backup, restore and pruning with an S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest
from storages.backends.s3 import S3Storage

from igny8_backup.formats import keys
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.maintain.prune import prune
from igny8_backup.store.s3 import S3Store
from tests.docs.pages import assert_shown
from tests.management.commands import run_many
from tests.management.state import differences, of_project
from tests.operations.clocks import NIGHT, Clock, by_clock
from tests.operations.nights import let_time_pass
from tests.operations.test_round_trip import destroy
from tests.services import unavailable
from tests.services.project import Project
from tests.services.proxy import CuttingProxy
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
        "AWS_MAX_ATTEMPTS": "1",
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
    backups, packs = (
        f"{listing}backups/&delimiter=/&encoding-type=url",
        f"{listing}packs/web-1/sites/&encoding-type=url",
    )
    top = f"/{s3.bucket}/igny8"
    run, folder = f"{top}/runs/{made.id}.json", f"{top}/backups/{made.id}"
    assert asked == [
        *(f"HEAD {run}", f"PUT {run}", f"HEAD {run}"),  # the id is free; claim it; the claim is stored
        backups,  # no backup has this id, and none is dated in the future
        *(packs, f"GET {top}/backups/{before.id}/manifest.json"),  # the parent backup
        *(f"PUT {folder}/files/sites.folders.tar.zst", f"HEAD {folder}/files/sites.folders.tar.zst"),
        *(f"PUT {folder}/files/sites.index.zst", f"HEAD {folder}/files/sites.index.zst"),
        packs,  # all packs that the manifest will name still exist
        *(f"PUT {folder}/details.json.zst", f"HEAD {folder}/details.json.zst"),
        *(f"HEAD {folder}/manifest.json", f"PUT {folder}/manifest.json", f"HEAD {folder}/manifest.json"),
        f"PUT {run}",  # the outcome
    ]
