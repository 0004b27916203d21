"""Storages that everybody can read: refused without encryption, reported with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.files.storage import storages

from igny8_backup.checks import TAG
from igny8_backup.errors import RefusedError
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext, open_context
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.store import open_store
from tests.services import clouds, unavailable
from tests.services.clouds import Cloud
from tests.services.proxy import CuttingProxy
from tests.services.s3 import RcloneS3, installed

RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
S3 = "storages.backends.s3.S3Storage"
BUCKET = {"bucket_name": "backups", "region_name": "eu-central-1", "endpoint_url": "http://127.0.0.1:1"}
PUBLIC: dict[str, dict[str, Any]] = {
    "public-read": {"default_acl": "public-read"},
    "public-read-write": {"default_acl": "public-read-write"},
    "authenticated-read": {"default_acl": "authenticated-read"},
    "object ACL": {"object_parameters": {"ACL": "public-read"}},
    "grant": {
        "object_parameters": {"GrantRead": "uri=http://acs.amazonaws.com/groups/global/AllUsers"},
    },
}
PRIVATE: dict[str, dict[str, Any]] = {
    "none": {},
    "private": {"default_acl": "private"},
    "owner": {"default_acl": "bucket-owner-full-control"},
    "overridden": {"default_acl": "public-read", "object_parameters": {"ACL": "private"}},
}


def configure(settings: Any, tmp_path: Path, options: dict[str, Any], *, encrypted: bool) -> None:
    settings.STORAGES = {
        "staticfiles": settings.STORAGES["staticfiles"],
        "dbbackup": {"BACKEND": S3, "OPTIONS": {**BUCKET, **options}},
    }
    settings.IGNY8_BACKUP = {
        "DATABASES": [],
        "STATE_DIR": tmp_path / "state",
        "SCRATCH_DIR": tmp_path,
        "ENCRYPTION": {"RECIPIENTS": [RECIPIENT]} if encrypted else None,
        "HOST": "web-1",
        "RETRY_SECONDS": 0,
    }


def numbers() -> set[str]:
    found = run_checks(tags=[TAG], include_deployment_checks=True)
    return {str(message.id).removeprefix("igny8_backup.") for message in found}


@pytest.mark.parametrize("options", PUBLIC.values(), ids=PUBLIC)
def test_public_acl_without_encryption_is_refused(
    settings: Any, tmp_path: Path, options: dict[str, Any]
) -> None:
    configure(settings, tmp_path, options, encrypted=False)
    assert "E032" in numbers() and "W012" not in numbers()
    with (
        pytest.raises(RefusedError, match="unencrypted where everybody can read them"),
        open_context(writing=True),
    ):
        pass
    with open_context():  # a restore is possible
        pass


@pytest.mark.parametrize("options", PUBLIC.values(), ids=PUBLIC)
def test_public_acl_with_encryption_is_a_warning(
    settings: Any, tmp_path: Path, options: dict[str, Any]
) -> None:
    configure(settings, tmp_path, options, encrypted=True)
    assert numbers() & {"E032", "W012"} == {"W012"}
    with open_context(writing=True):
        pass


@pytest.mark.parametrize("options", PRIVATE.values(), ids=PRIVATE)
def test_private_acl_is_no_problem(settings: Any, tmp_path: Path, options: dict[str, Any]) -> None:
    configure(settings, tmp_path, options, encrypted=False)
    assert not numbers() & {"E032", "W012"}
    with open_context(writing=True):
        pass


def test_unsigned_urls_are_a_warning(settings: Any, tmp_path: Path) -> None:
    configure(settings, tmp_path, {"querystring_auth": False}, encrypted=False)
    assert numbers() & {"E032", "W012"} == {"W012"}


@pytest.mark.parametrize("setting", ["STATICFILES_DIRS", "STATICFILES_DIRS pair", "WHITENOISE_ROOT"])
def test_folder_that_is_served_is_refused(settings: Any, tmp_path: Path, setting: str) -> None:
    configure(settings, tmp_path, {}, encrypted=True)
    options = {"location": str(tmp_path / "assets/backups")}
    backend = "django.core.files.storage.FileSystemStorage"
    settings.STORAGES = {**settings.STORAGES, "dbbackup": {"BACKEND": backend, "OPTIONS": options}}
    assert "E022" not in numbers()
    served = str(tmp_path / "assets")
    value: Any = {"STATICFILES_DIRS": [served], "STATICFILES_DIRS pair": [("x", served)]}.get(setting, served)
    setattr(settings, setting.partition(" ")[0], value)
    assert "E022" in numbers()


def test_folder_with_a_base_url_is_a_warning(settings: Any, tmp_path: Path) -> None:
    configure(settings, tmp_path, {}, encrypted=True)
    options = {"location": str(tmp_path / "backups"), "base_url": "/backups/"}
    backend = "django.core.files.storage.FileSystemStorage"
    settings.STORAGES = {**settings.STORAGES, "dbbackup": {"BACKEND": backend, "OPTIONS": options}}
    assert "W012" in numbers()


def answer(body: str) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n{body}".encode()


POLICY = answer("<PolicyStatus><IsPublic>true</IsPublic></PolicyStatus>")
ACL = answer(
    "<AccessControlPolicy><AccessControlList><Grant>"
    '<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="Group">'
    "<URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee><Permission>READ</Permission>"
    "</Grant></AccessControlList></AccessControlPolicy>"
)
BLOCKED = answer(
    "<PublicAccessBlockConfiguration><IgnorePublicAcls>true</IgnorePublicAcls>"
    "<RestrictPublicBuckets>true</RestrictPublicBuckets></PublicAccessBlockConfiguration>"
)


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[tuple[CuttingProxy, RcloneS3]]:
    program = installed()
    if program is None:
        unavailable("rclone is not installed.")
    folder = tmp_path / "s3"
    folder.mkdir()
    with RcloneS3(program, folder) as server, CuttingProxy(server.port) as proxy:
        yield proxy, server


@pytest.mark.services
@pytest.mark.parametrize(("needle", "forged"), [(b"?policyStatus", POLICY), (b"?acl", ACL)])
def test_public_bucket_without_encryption_is_refused_before_anything_is_written(
    context: BackupContext, settings: Any, bucket: tuple[CuttingProxy, RcloneS3], needle: bytes, forged: bytes
) -> None:
    proxy, server = bucket
    options = server.options(proxy.endpoint)
    settings.STORAGES = {**settings.STORAGES, "dbbackup": {"BACKEND": S3, "OPTIONS": options}}
    with open_store(storages["dbbackup"], "igny8/") as store:
        public = replace(context, store=store)
        proxy.answer_always(needle, forged)
        with pytest.raises(RefusedError, match="everybody can read them: the (policy|ACL) of the bucket"):
            run_backup(public, BackupRequest(trees=("sites",)))
        assert "E032" in numbers()
        assert list(store.list()) == []
        settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "ENCRYPTION": {"RECIPIENTS": [RECIPIENT]}}
        assert numbers() & {"E032", "W012"} == {"W012"}
        proxy.forget()
        proxy.answer_always(b"?publicAccessBlock", BLOCKED)
        proxy.answer_always(needle, forged)
        assert store.public_access() == ""


@pytest.mark.services
def test_public_container_of_azure_is_noticed(tmp_path: Path, context: BackupContext) -> None:
    with clouds.azure(tmp_path) as cloud:
        assert_noticed(cloud, context)


def assert_noticed(cloud: Cloud, context: BackupContext) -> None:
    storage: Any = cloud.make("x")
    with open_store(storage, "igny8/") as store:
        assert store.public_access() == ""
        storage.client.set_container_access_policy(signed_identifiers={}, public_access="blob")
        assert store.public_access() == "the container has the public access level blob"
        with pytest.raises(RefusedError, match="public access level blob"):
            run_backup(replace(context, store=store), BackupRequest(trees=("sites",)))
        assert prune(replace(context, store=store)).removed == ()
