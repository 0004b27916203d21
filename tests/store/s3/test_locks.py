"""Object Lock in a store: what is locked stays, whoever deletes it, and locks only grow."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from storages.backends.s3 import S3Storage

from igny8_backup.errors import StorageError
from igny8_backup.formats import keys
from igny8_backup.formats.object_lock import COMPLIANCE, GOVERNANCE, ObjectLock, is_locked_key
from igny8_backup.store import LockedObjectError
from igny8_backup.store.s3 import S3Store
from igny8_backup.streams.pipeline import from_bytes
from tests.services.localstack import LocalStack

pytestmark = [pytest.mark.services, pytest.mark.slow]

ID = "20261122T021500Z-7f3a9c"
PACK = keys.pack_key("web-1", "sites", keys.pack_name(ID, 1), ".zst")
ONE_DAY = ObjectLock(mode=GOVERNANCE, days=1)


@pytest.fixture
def bucket(localstack: LocalStack) -> str:
    return localstack.bucket(lock=True)


@pytest.fixture
def client(localstack: LocalStack) -> Iterator[Any]:
    client = localstack.client()
    yield client
    client.close()


def open_locking(localstack: LocalStack, bucket: str, lock: ObjectLock = ONE_DAY) -> S3Store:
    return S3Store(S3Storage(**localstack.options(bucket)), "igny8/", lock=lock)


@pytest.mark.parametrize("size", [1, 9 << 20], ids=["one request", "parts"])
def test_put_locks_the_object(localstack: LocalStack, bucket: str, client: Any, size: int) -> None:
    with open_locking(localstack, bucket) as store:
        store.put(PACK, from_bytes(b"x" * size))
        store.put(keys.run_key(ID), from_bytes(b"record"))
        until = store.locked_until(PACK)
        assert until and abs(until - datetime.now(UTC) - timedelta(days=8)) < timedelta(minutes=5)
        assert store.locked_until(keys.run_key(ID)) is None
        with pytest.raises(LockedObjectError, match="is locked and cannot be deleted yet"):
            store.delete(PACK)
        assert store.read_small(PACK) == b"x" * size, "no marker was put on top"
        assert len(store.versions(PACK)) == 1


def test_lock_in_compliance_mode_cannot_be_undone(localstack: LocalStack, bucket: str, client: Any) -> None:
    with open_locking(localstack, bucket, ObjectLock(mode=COMPLIANCE, days=1)) as store:
        store.put(PACK, from_bytes(b"data"))
        (version,) = store.versions(PACK)
        given = {"Bucket": bucket, "Key": f"igny8/{PACK}", "VersionId": version.id}
        with pytest.raises(ClientError, match="AccessDenied"):
            client.delete_object(**given, BypassGovernanceRetention=True)
        with pytest.raises(StorageError):
            store.extend_lock(PACK, datetime.now(UTC) + timedelta(hours=1))
        later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=9)
        store.extend_lock(PACK, later)
        assert store.locked_until(PACK) == later
    with open_locking(localstack, bucket) as store:  # a weaker mode in the settings extends it all the same
        store.extend_lock(PACK, later + timedelta(days=1))
        assert client.head_object(**given)["ObjectLockMode"] == COMPLIANCE


def test_legal_hold_locks_without_an_end(localstack: LocalStack, bucket: str, client: Any) -> None:
    with S3Store(S3Storage(**localstack.options(bucket)), "igny8/") as store:
        store.put(PACK, from_bytes(b"data"))
        client.put_object_legal_hold(Bucket=bucket, Key=f"igny8/{PACK}", LegalHold={"Status": "ON"})
        assert store.locked_until(PACK) == datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("key", "locked"),
    [
        (PACK, True),
        (keys.manifest_key(ID), True),
        (keys.details_key(ID, ".zst.age"), True),
        (keys.signature_key(keys.manifest_key(ID), "manifest", b"x"), True),
        (keys.signature_key(keys.pin_key(ID), "pin", b"x"), False),
        (keys.pin_key(ID), False),
        (keys.acceptance_key(ID), False),
        (keys.run_key(ID), False),
        (keys.lock_key(ID), False),
        (keys.MARKS, False),
        (keys.MARKER, False),
        (keys.COLLECTED, False),
    ],
    ids=lambda value: str(value).rpartition("/")[2],
)
def test_is_locked_key_keeps_out_what_is_written_again(key: str, locked: bool) -> None:
    assert is_locked_key(key) is locked
