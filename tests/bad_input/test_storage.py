"""Storage that is down, loses connections, is full, renames objects, or cannot be listed.

Other tests cover, end to end: a bucket that is down before a run, refuses the credentials or does not exist
(tests/operations/test_s3.py), and a folder that is not mounted (tests/management/test_errors.py). tests/store
tests the failures of single requests.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.chunks.cutter import compiled_version
from tests.bad_input.conftest import Ground
from tests.bad_input.outcome import Case, assert_one_line, fail, nothing_changes
from tests.bad_input.rights import run_as_anybody
from tests.docs.pages import assert_shown
from tests.management.commands import Command, run_many
from tests.services import unavailable
from tests.services.disk import fill, small_disk
from tests.services.proxy import CuttingProxy, error_answer
from tests.services.s3 import RcloneS3, installed

MIB = 1 << 20
SECONDS = 120
SMALL = 60_000  # bytes: more than all listings and manifests here have, less than the dump
BROKE = "closed the connection"
UNRECORDED = "No backup was recorded."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RcloneS3]:
    program = installed()
    if program is None:
        unavailable("rclone is not installed.")
    with RcloneS3(program, tmp_path_factory.mktemp("s3")) as found:
        yield found


@pytest.fixture(scope="module")
def listening(server: RcloneS3) -> Iterator[CuttingProxy]:
    with CuttingProxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def proxy(listening: CuttingProxy) -> Iterator[CuttingProxy]:
    """A proxy in front of the bucket, which forwards everything at first."""
    yield listening
    listening.refuse()
    listening.forget()
    listening.accept()


@pytest.fixture
def env(server: RcloneS3, proxy: CuttingProxy) -> dict[str, str]:
    return to_bucket(server, proxy.endpoint)


def to_bucket(server: RcloneS3, endpoint: str) -> dict[str, str]:
    return {
        "IGNY8_BACKUP_S3_BUCKET": server.bucket,
        "IGNY8_BACKUP_S3_ENDPOINT": endpoint,
        "IGNY8_BACKUP_S3_ACCESS_KEY": server.access_key,
        "IGNY8_BACKUP_S3_SECRET_KEY": server.secret_key,
        "IGNY8_BACKUP_RETRY_SECONDS": "0",
    }


def bucket(server: RcloneS3) -> Path:
    """The bucket as a folder."""
    return server.folder / "buckets" / server.bucket


@pytest.fixture(scope="module")
def large(ground: Ground) -> Iterator[Path]:
    """A separate tree with a file that is uploaded in several parts."""
    root = ground.project.folder / "large"
    root.mkdir()
    (root / "file").write_bytes(os.urandom(30 * MIB))
    yield root
    shutil.rmtree(root)


def test_backup_with_broken_upload_leaves_nothing(
    ground: Ground, server: RcloneS3, proxy: CuttingProxy, env: dict[str, str], large: Path
) -> None:
    """The connection breaks in the middle of a part, and in the middle of a small object."""
    cases: tuple[tuple[int, dict[str, Any], str], ...] = (
        (5 * MIB, {"SITES": {"large": str(large)}}, "backup_sites"),
        (SMALL, {}, "backup_db"),
    )
    for size, settings, command in cases:
        proxy.cut_requests(size)
        with nothing_changes(ground.project, folder=bucket(server), env=env):
            done, left = run_many(
                ground.project,
                Command([command], settings),
                ["list_backups", "--orphans", "--json"],
                env=env,
            )
        assert proxy.cuts == 1
        proxy.forget()
        hint = "Check the network, endpoint_url"
        assert_one_line(done, 1, what=BROKE, unchanged=UNRECORDED, hint=hint)
        if settings:
            assert_shown(done.stderr.replace("/large/", "/sites-data/"))
        assert left.ended(0).json["litter"] == left.json["in_use"] == []


@pytest.mark.skipif(not compiled_version(), reason="pyfastcdc is not installed")
def test_interrupt_while_a_pack_of_chunks_is_repeated_ends_the_run_at_once(
    ground: Ground, server: RcloneS3, proxy: CuttingProxy, env: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "chunked_settings.py").write_text(
        "from project.settings import *\n"
        "IGNY8_BACKUP = {**IGNY8_BACKUP, 'CHUNKED_DUMPS': ['default'], 'RETRY_SECONDS': 600}\n"
    )
    path = f"{tmp_path}:{ground.project.environment['PYTHONPATH']}"
    env |= {"PYTHONPATH": path, "DJANGO_SETTINGS_MODULE": "chunked_settings"}
    proxy.answer_always(b".chunks.", error_answer(503, "SlowDown"))
    with nothing_changes(ground.project, folder=bucket(server), env=env):
        with ground.project.start("backup_db", env=env) as process:
            deadline = time.monotonic() + SECONDS
            while sum(".chunks." in asked for asked in proxy.asked) < 4:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            try:
                _, err = process.communicate(timeout=SECONDS)  # much less than RETRY_SECONDS
            finally:
                process.kill()
        proxy.forget()
    assert process.returncode == 130
    assert (
        "Stopped by SIGINT. Unfinished work was cleaned up; a later run cleans up what could not be reached."
        in err
    )
    (left,) = run_many(ground.project, ["list_backups", "--orphans", "--json"], env=env)
    assert left.ended(0).json["litter"] == left.json["in_use"] == []


def test_backup_with_vanished_storage_leaves_orphans_that_are_listed(
    ground: Ground, server: RcloneS3, proxy: CuttingProxy, env: dict[str, str], large: Path
) -> None:
    """The clean-up fails as well. Once the storage answers again, the objects that were stored are listed."""
    proxy.cut_requests(5 * MIB)
    proxy.cut_requests(0, times=10_000)
    with nothing_changes(ground.project, folder=bucket(server), env=env):
        (done,) = run_many(
            ground.project, Command(["backup_sites"], {"SITES": {"large": str(large)}}), env=env
        )
        proxy.forget()
    notes = ["An unfinished upload could not be aborted", "The outcome of this run could not be written"]
    assert_one_line(done, 1, what=BROKE, unchanged=UNRECORDED, hint="Check the network", notes=notes)
    (left,) = run_many(ground.project, ["list_backups", "--orphans", "--json"], env=env)
    # The end of the run could not be recorded, so the record still has the outcome "running".
    (upload,) = left.ended(0).json["in_use"]
    assert upload["upload_id"] and upload["key"].startswith("packs/web-1/large/")


def test_restore_with_storage_vanishing_meanwhile_fails(
    ground: Ground, server: RcloneS3, proxy: CuttingProxy, env: dict[str, str]
) -> None:
    shutil.copytree(ground.project.storage / "igny8", bucket(server) / "igny8", dirs_exist_ok=True)
    proxy.cut_answers(SMALL)
    proxy.cut_answers(0, times=10_000)
    env["IGNY8_BACKUP_RETRY_SECONDS"] = "2"
    with nothing_changes(ground.project, folder=bucket(server), env=env):
        (done,) = run_many(ground.project, [*ground.restore, "--only", "db", *ground.identity], env=env)
        assert proxy.cuts > 2, "it has tried again"
        proxy.forget()
    notes = ["Retrying for up to 2 seconds"]
    assert_one_line(
        done, 1, what=BROKE, unchanged="Nothing live was changed.", hint="Check the network", notes=notes
    )


PAGE = b"""<?xml version='1.0'?><ListBucketResult><Name>backups</Name><Prefix>igny8/</Prefix>
<MaxKeys>1</MaxKeys><KeyCount>0</KeyCount><IsTruncated>true</IsTruncated>
<NextContinuationToken>more</NextContinuationToken>
</ListBucketResult>"""


def test_list_with_failing_storage_is_never_empty(
    ground: Ground, server: RcloneS3, proxy: CuttingProxy, env: dict[str, str]
) -> None:
    """The listing is refused, breaks after its first page, or fails on the server."""
    commands: list[list[str]] = [
        ["list_backups"],
        ["list_backups", "--json"],
        ["list_backups", "--orphans"],
        ["restore_all", "--dry-run", "--no-migrate", *ground.identity],
    ]
    page = b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    page += b"Content-Length: %d\r\n\r\n%s" % (len(PAGE), PAGE)
    denied, unavailable_answer = error_answer(403, "AccessDenied"), error_answer(503, "ServiceUnavailable")
    for answers, what in (
        ([denied], "access denied"),
        ([page, unavailable_answer], "the server reports an error of its own"),
    ):
        for _ in commands:
            for answer in answers:
                proxy.forge_answer(b"list-type=2", answer)
        cases = [Case(argv, 1, f"Cannot list the bucket {server.bucket} at", hint="") for argv in commands]
        for done in fail(ground.project, *cases, env=env, folder=bucket(server)):
            assert what in done.stderr and "There is no backup" not in done.output
        proxy.forget()


def test_list_of_unreadable_folder_is_never_empty(ground: Ground) -> None:
    folder = ground.project.storage / "igny8/backups"
    folder.chmod(0)
    try:
        done = run_as_anybody(ground.project, "list_backups")
    finally:
        folder.chmod(0o700)
    what = f"The user of this process may not list {folder}."
    assert_one_line(done, 1, what=what, hint="Make the user of the application its owner: chown")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk without free space."""
    with small_disk(tmp_path_factory.mktemp("full") / "disk", MIB) as disk:
        fill(disk)
        yield disk


@pytest.mark.parametrize("left", [0, 64 << 10])
def test_backup_to_full_folder_fails(ground: Ground, tmp_path: Path, left: int) -> None:
    """The disk is full at once, or after the first object."""
    with small_disk(tmp_path / "disk", MIB) as disk:
        fill(disk, left)
        fail(
            ground.project,
            *(
                Case(
                    [command],
                    1,
                    f"No space is left in the folder {disk}.",
                    UNRECORDED,
                    "Free space there, or delete backups that are no longer needed.",
                    notes=["The outcome of this run could not be written", " FAILED: No space is left"],
                    shown=True,
                )
                for command in ("backup_db", "backup_all")
            ),
            env={
                "IGNY8_BACKUP_FOLDER": str(disk),
                "IGNY8_BACKUP_STATE_DIR": str(ground.project.folder / "other state"),
            },
            folder=disk,
        )
        assert not [
            path for path in disk.rglob("*") if path.is_file() and path.parent.name not in ("disk", "runs")
        ]


def test_backup_with_full_scratch_or_state_fails(ground: Ground, full: Path) -> None:
    restore = [*ground.restore, *ground.identity, "--only"]
    scratch, state = {"SCRATCH_DIR": str(full)}, {"STATE_DIR": str(full)}
    free_space = "Free some space there, or set IGNY8_BACKUP['SCRATCH_DIR'] to"
    unchanged = "Nothing live was changed."
    full_disk = "No space left on device."
    fail(
        ground.project,
        Case(
            ["backup_db"],
            1,
            f"A private file could not be written in {full}: {full_disk}",
            unchanged,
            "Free some space there, or set IGNY8_BACKUP['SCRATCH_DIR'] to a folder on a larger disk.",
            settings=scratch,
        ),
        Case(
            [*restore, "db"],
            1,
            f"A private file could not be written in {full}: {full_disk}",
            unchanged,
            "Free some space there, or set IGNY8_BACKUP['SCRATCH_DIR'] to a folder on a larger disk.",
            settings=scratch,
        ),
        Case(
            [*restore, "uploads"],
            1,
            f"The index of the tree cannot be stored in {full}: {full_disk}",
            unchanged,
            free_space,
            settings=scratch,
            shown=True,
        ),
        Case(
            ["backup_sites"],
            1,
            f"The state folder {full}/indexes/web-1/sites-data cannot be written: {full_disk}",
            "This tree is not in the backup.",
            "Free some space there",
            settings=state,
            notes=["FAILED: The state folder", "The status for the admin page was not kept."],
            shown=True,
        ),
        Case(
            [*restore, "uploads"],
            1,
            f"The journal {full}/restores/",
            unchanged,
            "Make IGNY8_BACKUP['STATE_DIR'] writable or free some space in it",
            settings=state,
        ),
    )
    assert [path.name for path in full.rglob("*") if path.is_file() and path.suffix != ".lock"] == ["filler"]


def test_backup_to_full_bucket_fails(
    ground: Ground, tmp_path: Path, proxy: CuttingProxy, env: dict[str, str], server: RcloneS3
) -> None:
    """Error codes of Ceph, MinIO and others, and a server whose disk is full."""
    full = "the storage has no free space (InsufficientStorage)"
    for needle in (b"PUT ", b"POST "):
        proxy.answer_always(needle, error_answer(507, "InsufficientStorage"))
    fail(
        ground.project,
        Case(["backup_db"], 1, full, UNRECORDED, "Raise the quota, or delete backups", shown=True),
        env=env,
        folder=bucket(server),
    )
    (tmp_path / "s3").mkdir()
    with small_disk(tmp_path / "s3/buckets", MIB) as disk, RcloneS3(server.program, tmp_path / "s3") as small:
        fill(disk, 64 << 10)
        fail(
            ground.project,
            Case(["backup_db"], 1, "Cannot write igny8/backups/", UNRECORDED, "Try again later."),
            env=to_bucket(small, small.endpoint),
            folder=bucket(small),
        )


RENAMING = """
from django.core.files.storage import FileSystemStorage
from project.settings import *

class Renaming(FileSystemStorage):
    def get_available_name(self, name, max_length=None):
        return name + ".1"

STORAGES["dbbackup"] = {"BACKEND": "renaming.Renaming", "OPTIONS": {"location": PLACE}}
"""


def test_backup_to_renaming_storage_fails(ground: Ground, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (tmp_path / "renaming.py").write_text(f"PLACE = {str(place)!r}\n{RENAMING}")
    env = {
        "PYTHONPATH": f"{tmp_path}:{ground.project.environment['PYTHONPATH']}",
        "DJANGO_SETTINGS_MODULE": "renaming",
    }
    fail(
        ground.project,
        Case(
            ["backup_all"],
            1,
            "Renaming, under igny8/ renames objects (igny8/runs/",
            "The stored object was removed. No backup was recorded.",
            'Set STORAGES["dbbackup"] to a storage that stores',
            shown=True,
        ),
        env=env,
        folder=place,
    )
    assert not [path for path in place.rglob("*") if path.is_file()]
