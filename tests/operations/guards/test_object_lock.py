"""The deployment checks of a bucket: what protects the backups in it, and what is missing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage

from igny8_backup.conf import STORAGE_ALIAS, Problem, get_config
from igny8_backup.errors import RefusedError
from igny8_backup.operations.context import BackupContext, open_context
from igny8_backup.operations.guards import object_lock
from igny8_backup.operations.guards.lock_support import lock_problems
from tests.docs.pages import blocks, page, section
from tests.services.moto import MotoServer

LOCK = {"mode": "GOVERNANCE", "days": 30}
BY_DEFAULT = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 9}}}


def found(settings: Any, server: MotoServer, bucket: str, lock: dict[str, Any] | None) -> list[Problem]:
    settings.STORAGES = {
        **settings.STORAGES,
        "dbbackup": {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": server.options(bucket),
        },
    }
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "OBJECT_LOCK": lock or {}}
    return object_lock.problems(get_config())


def ids(problems: list[Problem]) -> list[str]:
    return [problem.id.removeprefix("igny8_backup.") for problem in problems]


def test_problems_bucket_without_versions_is_reported(
    context: BackupContext, settings: Any, moto_server: MotoServer
) -> None:
    (problem,) = found(settings, moto_server, moto_server.bucket(versions=False), None)
    assert problem.id == "igny8_backup.W030"
    assert "can overwrite or delete every backup for good" in problem.message
    assert found(settings, moto_server, moto_server.bucket(), None) == []


def test_problems_bucket_without_object_lock_is_an_error(
    context: BackupContext, settings: Any, moto_server: MotoServer
) -> None:
    problems = found(settings, moto_server, moto_server.bucket(), LOCK)
    assert ids(problems) == ["E045", "W033"]
    assert "every upload would fail" in problems[0].message


def test_problems_name_a_default_retention_and_what_it_locks(
    context: BackupContext, settings: Any, moto_server: MotoServer
) -> None:
    bucket, client = moto_server.bucket(lock=True), moto_server.client()
    client.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=BY_DEFAULT)
    client.close()
    (problem,) = found(settings, moto_server, bucket, None)
    assert problem.id == "igny8_backup.W031"
    assert "locks every new object for 9 days (GOVERNANCE). That includes run records" in problem.message


def test_problems_compliance_mode_is_named_with_its_days(
    context: BackupContext, settings: Any, moto_server: MotoServer
) -> None:
    bucket = moto_server.bucket(lock=True)
    problems = found(settings, moto_server, bucket, {"mode": "COMPLIANCE", "days": 30})
    assert ids(problems) == ["W032", "W033"]
    assert "locked for 37 days in the mode COMPLIANCE" in problems[0].message


def test_problems_lifecycle_rules_of_the_documentation_are_enough(
    context: BackupContext, settings: Any, moto_server: MotoServer
) -> None:
    bucket, client = moto_server.bucket(lock=True), moto_server.client()
    (problem,) = found(settings, moto_server, bucket, LOCK)
    assert problem.id == "igny8_backup.W033"
    assert "igny8/runs/ and igny8/locks/" in problem.message
    text = section(page("how-to/protect-from-ransomware"), "### Add lifecycle rules")
    rules = json.loads(blocks(text, "json")[0])
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=rules)
    client.close()
    assert found(settings, moto_server, bucket, LOCK) == []


def test_backup_into_a_folder_with_object_lock_is_refused(context: BackupContext, settings: Any) -> None:
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "OBJECT_LOCK": LOCK}
    assert ids(object_lock.problems(get_config())) == ["E045"]
    with (
        pytest.raises(RefusedError, match="which is not S3 and cannot lock objects"),
        open_context(writing=True),
    ):
        pass
    with open_context():
        pass  # reading is not affected
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "OBJECT_LOCK": {"offsite": LOCK}}
    assert lock_problems(get_config(), FileSystemStorage(), STORAGE_ALIAS) == []
    assert ids(lock_problems(get_config(), FileSystemStorage(), "offsite")) == ["E045"]


def test_problems_of_the_bucket_of_a_copy_name_the_copy(
    context: BackupContext, settings: Any, moto_server: MotoServer
) -> None:
    backend = {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": moto_server.options(moto_server.bucket(versions=False)),
    }
    settings.STORAGES = {**settings.STORAGES, "offsite": backend}
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "COPIES": {"far": {"storage": "offsite"}}}
    (problem,) = object_lock.problems(get_config())
    assert problem.id == "igny8_backup.W030"
    assert problem.message.startswith("Copy far: The bucket keeps no versions")
