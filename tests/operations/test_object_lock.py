"""Object Lock: what backups need is locked, what changes is not, and prune waits for the locks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from igny8_backup.formats import keys
from igny8_backup.operations.backup.request import BackupRequest, BackupResult
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.keys.identity_check import check_identity
from igny8_backup.operations.maintain.pin import pin, unpin
from igny8_backup.operations.maintain.pruning.locked import locked_lines
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.rotate.plan import plan_rotation
from igny8_backup.operations.rotate.run import rotate
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify
from igny8_backup.streams.age import generate_identity
from tests.operations.signed import Keys
from tests.operations.test_versions import Attacked
from tests.services.moto import MotoServer
from tests.services.proxy import CuttingProxy, error_answer

LOCK = {"mode": "GOVERNANCE", "days": 30}


pytestmark = pytest.mark.services


@pytest.fixture(params=["moto_server", pytest.param("localstack", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest) -> MotoServer:
    """Each S3 server that can lock objects."""
    found: MotoServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def locking(context: BackupContext, settings: Any, server: MotoServer, keys: Keys) -> Iterator[Attacked]:
    """A bucket with Object Lock, in which this host locks its signed backups for 30 days."""
    name, client = server.bucket(lock=True), server.client()
    settings.STORAGES = {
        **settings.STORAGES,
        "dbbackup": {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": server.options(name),
        },
    }
    settings.IGNY8_BACKUP = {
        **settings.IGNY8_BACKUP,
        "OBJECT_LOCK": LOCK,
        "RETENTION": {"last": 1},
        "SIGNING": {"KEY_FILE": keys.file("host")},
        "TRUSTED": [keys.line("host")],
    }
    yield Attacked(name, client, settings)
    client.close()


def backup(context: BackupContext, *, full: bool = False) -> BackupResult:
    return run_backup(context, BackupRequest(trees=("sites", "uploads"), full=full))


def locks(bucket: Attacked) -> dict[str, timedelta | None]:
    """Return for how long each current object is locked."""
    found = {}
    for item in bucket.client.list_objects_v2(Bucket=bucket.name)["Contents"]:
        head = bucket.client.head_object(Bucket=bucket.name, Key=item["Key"])
        until = head.get("ObjectLockRetainUntilDate")
        found[item["Key"].removeprefix("igny8/")] = until and until - datetime.now(UTC)
    return found


def set_lock(bucket: Attacked, key: str, left: timedelta) -> None:
    """Set the lock of an object as a user may who has the right to bypass locks."""
    bucket.client.put_object_retention(
        Bucket=bucket.name,
        Key=f"igny8/{key}",
        Retention={"Mode": "GOVERNANCE", "RetainUntilDate": datetime.now(UTC) + left},
        BypassGovernanceRetention=True,
    )


def is_about(length: timedelta | None, days: int) -> bool:
    return length is not None and abs(length - timedelta(days=days)) < timedelta(hours=1)


def test_backup_locks_what_it_needs_and_nothing_else(locking: Attacked) -> None:
    with locking.open() as context:
        backup_id = backup(context).id
        verify(context, VerifyRequest(backup_id=backup_id))
        pin(context, backup_id, "before the audit")
    found = locks(locking)
    needed = {
        key
        for key in found
        if key.startswith((keys.BACKUPS, keys.PACKS)) and not key.endswith(("pin.json", "-stored.json"))
    }
    locked = {key for key, length in found.items() if length}
    assert keys.manifest_key(backup_id) in locked
    assert any("/signatures/manifest-" in key for key in locked)
    assert locked == {key for key in needed if "/signatures/pin-" not in key}
    assert all(is_about(found[key], 37) for key in locked)
    with locking.open() as context:
        unpin(context, backup_id)
    version = locking.client.head_object(Bucket=locking.name, Key=f"igny8/{keys.manifest_key(backup_id)}")
    with pytest.raises(ClientError, match="AccessDenied"):
        locking.client.delete_object(
            Bucket=locking.name,
            Key=f"igny8/{keys.manifest_key(backup_id)}",
            VersionId=version["VersionId"],
        )


def test_backup_extends_the_locks_of_packs_that_it_needs(locking: Attacked) -> None:
    with locking.open() as context:
        backup(context)
        packs = [key for key in locks(locking) if key.startswith(keys.PACKS)]
        short, long = packs[:1], packs[1:]
        assert short and long
        set_lock(locking, short[0], timedelta(days=29))
        for key in long:
            set_lock(locking, key, timedelta(days=31))
        assert backup(context).whole
    found = locks(locking)
    assert is_about(found[short[0]], 37)
    assert all(is_about(found[key], 31) for key in long), "their locks last long enough"


def test_backup_that_cannot_extend_a_lock_is_incomplete_and_alarms(
    locking: Attacked, server: MotoServer, settings: Any
) -> None:
    with CuttingProxy(server.port) as proxy:
        options = server.options(locking.name, endpoint_url=proxy.endpoint)
        behind = {**settings.STORAGES["dbbackup"], "OPTIONS": options}
        settings.STORAGES = {**settings.STORAGES, "dbbackup": behind}
        with locking.open() as context:
            backup(context)
            pack = next(key for key in locks(locking) if key.startswith(keys.PACKS))
            set_lock(locking, pack, timedelta(days=3))
            # What a server without the right s3:PutObjectRetention is answered.
            proxy.answer_always(b"?retention", error_answer(403, "AccessDenied"))
            result = backup(context)
            assert not result.whole and [alarm.part for alarm in result.alarms] == ["object lock"]
            (problem,) = result.problems(10)
            assert problem.startswith("object lock FAILED: The backup needs packs/web-1/")
            assert context.catalog.get(result.id)
            assert result.manifest and {part.state for part in result.manifest.parts} == {"complete"}


def test_prune_keeps_locked_backups_and_says_until_when(locking: Attacked) -> None:
    with locking.open() as context:
        first = backup(context, full=True).id
        backup(context, full=True)
        before = locks(locking)
        for dry_run in (True, False):
            result = prune(context, dry_run=dry_run)
            assert result.removed == () and result.complete
            (line,) = locked_lines(result.locked)
            day = datetime.now(UTC) + timedelta(days=37)
            assert line.startswith(f"LOCKED: backup {first} can be removed from {day:%Y-%m-%d}")
        assert before.keys() <= locks(locking).keys()
        assert not locking.client.list_object_versions(Bucket=locking.name).get("DeleteMarkers")


def test_prune_removes_what_is_no_longer_locked_and_leaves_locked_objects_as_orphans(
    locking: Attacked,
) -> None:
    with locking.open() as context:
        first = backup(context, full=True).id
        last = backup(context, full=True).id
        named = [item.key for item in context.catalog.get(first).objects()]
        details = keys.details_key(first, ".zst")
        end = datetime.now(UTC) + timedelta(seconds=4)
        for key in locks(locking):
            if key.startswith(keys.backup_folder(first)) and key != details:
                set_lock(locking, key, end - datetime.now(UTC))
        while datetime.now(UTC) < end:
            time.sleep(0.1)
        result = prune(context)
        assert result.removed == (first,) and result.complete
        found = locks(locking)
        assert details in found and keys.manifest_key(first) not in found
        assert [item.key for item in result.waiting if item.key == details] == [details]
        assert all(key in found for key in named if key.startswith(keys.PACKS))
        assert [entry.id for entry in context.catalog.entries()] == [last]
        assert not locking.client.list_object_versions(Bucket=locking.name).get("DeleteMarkers")


def test_rotation_of_recipients_is_refused_while_locks_last(locking: Attacked, tmp_path: Path) -> None:
    text, old = generate_identity()
    file = tmp_path / "identity"
    file.touch(mode=0o600)
    file.write_text(text)
    new_text, new = generate_identity()

    def encrypt_to(recipient: str) -> None:
        encryption = {"RECIPIENTS": [recipient]}
        locking.settings.IGNY8_BACKUP = {**locking.settings.IGNY8_BACKUP, "ENCRYPTION": encryption}

    encrypt_to(old)
    with locking.open() as context:
        backup_id = backup(context).id
    encrypt_to(new)
    with locking.open() as context:
        plan, _ = plan_rotation(context, file)
    assert not plan.groups and "are locked, the last until" in plan.refused[backup_id]
    for key, length in locks(locking).items():
        if length:
            set_lock(locking, key, timedelta(seconds=1))
    time.sleep(1.1)
    with locking.open() as context:
        plan, _ = plan_rotation(context, file)
        assert rotate(context, plan, file).rotated == (backup_id,)
    file.write_text(new_text)
    with locking.open() as context:
        assert check_identity(context, file).complete
        assert not verify(
            context, VerifyRequest(backup_id=backup_id, depth="content", identity_file=file)
        ).findings
    assert is_about(locks(locking)[keys.manifest_key(backup_id)], 37)
