"""The choice of a driver, and S3 as an optional dependency."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from django.core.files.storage import FileSystemStorage, InMemoryStorage
from storages.backends.s3 import S3Storage
from storages.backends.s3boto3 import S3Boto3Storage

from igny8_backup.store import open_store
from igny8_backup.store.folder.local import LocalStore
from igny8_backup.store.generic import GenericStore
from igny8_backup.store.s3 import S3Store
from tests.services.s3 import REGION

REPOSITORY = Path(__file__).parents[2]

WITHOUT_BOTO3 = """
import sys
for name in ("boto3", "botocore", "storages", "urllib3"):
    sys.modules[name] = None
from django.conf import settings
settings.configure()
from django.core.files.storage import FileSystemStorage, InMemoryStorage
from igny8_backup.store import open_store
store = open_store(FileSystemStorage(location=sys.argv[1]), "igny8/")
store.put_small("a", b"data")
print(type(store).__name__, type(open_store(InMemoryStorage(), "")).__name__)
"""


class Files(FileSystemStorage):
    pass


OwnS3: type = type("OwnS3", (S3Storage,), {})


def test_open_store_returns_the_driver_of_each_storage(tmp_path: Path) -> None:
    options = {"bucket_name": "backups", "region_name": REGION}
    for storage, kind in (
        (FileSystemStorage(location=tmp_path), LocalStore),
        (Files(location=tmp_path), GenericStore),
        (InMemoryStorage(location=tmp_path), GenericStore),
        (S3Boto3Storage(**options), S3Store),
        (OwnS3(**options), S3Store),
    ):
        with open_store(storage, "igny8/") as store:
            assert type(store) is kind


def test_open_store_works_without_boto3(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_BOTO3, tmp_path], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("LocalStore GenericStore\n", "")
    assert (tmp_path / "igny8/a").read_bytes() == b"data"
