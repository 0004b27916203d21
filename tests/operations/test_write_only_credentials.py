"""Credentials that may write and read, and not delete, are enough for backups."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.exceptions import ClientError

from igny8_backup.formats import keys
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify
from tests.docs.pages import blocks, page, section
from tests.operations.signed import Keys
from tests.operations.test_object_lock import LOCK, backup, locks
from tests.operations.test_versions import Attacked
from tests.services.moto import MotoServer


@contextmanager
def enforced(server: MotoServer) -> Iterator[None]:
    """Let the server enforce policies. Source: moto's documentation, "IAM-like Access Control"."""

    def allow(actions: str) -> None:
        url, plain = f"{server.endpoint}/moto-api/reset-auth", {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(url, actions.encode(), plain)).close()

    allow("0")
    try:
        yield
    finally:
        allow("inf")


@pytest.fixture
def limited(context: BackupContext, settings: Any, moto_server: MotoServer, keys: Keys) -> Iterator[Attacked]:
    """A bucket with Object Lock. The client, and the settings, have the credentials of the documentation."""
    bucket, iam = moto_server.bucket(lock=True), moto_server.client("iam")
    text = section(page("how-to/protect-from-ransomware"), "## Give the server no right to delete")
    policy = blocks(text, "json")[0].replace("igny8-backups", bucket)
    assert json.loads(policy)["Statement"][-1]["Effect"] == "Deny"
    iam.create_user(UserName=bucket)
    iam.put_user_policy(UserName=bucket, PolicyName="backups", PolicyDocument=policy)
    key = iam.create_access_key(UserName=bucket)["AccessKey"]
    iam.close()
    given = {"access_key": key["AccessKeyId"], "secret_key": key["SecretAccessKey"]}
    settings.STORAGES = {
        **settings.STORAGES,
        "dbbackup": {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": moto_server.options(bucket, **given),
        },
    }
    settings.IGNY8_BACKUP = {
        **settings.IGNY8_BACKUP,
        "OBJECT_LOCK": LOCK,
        "SIGNING": {"KEY_FILE": keys.file("host")},
        "TRUSTED": [keys.line("host")],
    }
    client = moto_server.client(**given)
    yield Attacked(bucket, client, settings)
    client.close()


def test_backups_need_no_right_to_delete(limited: Attacked, moto_server: MotoServer) -> None:
    with enforced(moto_server):
        with pytest.raises(ClientError, match="AccessDenied"):
            limited.delete("runs/1.json")
        with limited.open() as context:
            first = backup(context)
            second = backup(
                context
            )  # the lock of the first run was released although it could not be deleted
            assert first.whole and second.whole
            assert verify(context, VerifyRequest(backup_id=second.id)).failure == ""
            assert len(context.catalog.entries()) == 2
            assert [item.key for item in context.store.list(keys.LOCKS)], "they are marked as released"
            assert context.progress.texts == []  # type: ignore[attr-defined]  # Notes, of the fixture
        with pytest.raises(ClientError, match="AccessDenied"):
            manifest = limited.client.head_object(
                Bucket=limited.name, Key=f"igny8/{keys.manifest_key(first.id)}"
            )
            limited.client.delete_object(
                Bucket=limited.name,
                Key=f"igny8/{keys.manifest_key(first.id)}",
                VersionId=manifest["VersionId"],
            )
    assert all(locks(limited)[keys.manifest_key(item.id)] for item in (first, second))
