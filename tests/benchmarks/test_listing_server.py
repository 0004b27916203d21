"""The S3 server of ``benchmarks.stored`` answers as a folder with the same files would."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from django.core.files.storage import FileSystemStorage
from storages.backends.s3 import S3Storage

from benchmarks.listing_server import ListingServer
from benchmarks.s3_answers import BUCKET
from benchmarks.stored_data import make_storage
from igny8_backup.store import open_store
from igny8_backup.store.base import Store
from igny8_backup.store.folder.local import LocalStore
from igny8_backup.store.s3 import S3Store

PREFIXES = ("", "packs/", "packs/web-1/", "packs/web-1/sites/", "backups/", "runs/", "nothing/", "pa")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the server loads: backups, and files whose names S3 encodes."""
    root = tmp_path_factory.mktemp("storage")
    make_storage(root / "igny8", 5, datetime(2026, 9, 1, tzinfo=UTC), packs_each=3)
    for name in (
        "packs/web-1/sites-2/x",
        "packs/web-1/sites/a & <b> +%20",
        "packs/web-1/sites!/ü",
        "packs.txt",
    ):
        path = root / "igny8" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


@pytest.fixture(scope="module")
def options(root: Path) -> Iterator[dict[str, Any]]:
    with ListingServer(root, latency=0) as server:
        yield server.options()


@pytest.fixture(scope="module")
def stores(root: Path, options: dict[str, Any]) -> Iterator[tuple[Store, Store]]:
    """The folder, and the server that has loaded it."""
    with (
        open_store(FileSystemStorage(location=root), "igny8/") as folder,
        S3Store(S3Storage(**options), "igny8/") as served,
    ):
        assert isinstance(folder, LocalStore)
        yield folder, served


@pytest.fixture(scope="module")
def client(options: dict[str, Any]) -> Iterator[Any]:
    made = boto3.client(
        "s3",
        endpoint_url=options["endpoint_url"],
        region_name=options["region_name"],
        aws_access_key_id=options["access_key"],
        aws_secret_access_key=options["secret_key"],
        config=options["client_config"],
    )
    yield made
    made.close()


@pytest.mark.parametrize("prefix", PREFIXES)
def test_listing_is_that_of_a_folder(stores: tuple[Store, Store], prefix: str) -> None:
    folder, served = (sorted((item.key, item.size) for item in store.list(prefix)) for store in stores)
    assert served == folder
    folders, of_server = (sorted(store.list_dirs(prefix)) for store in stores)
    assert of_server == folders


def test_content_and_sizes_are_those_of_a_folder(stores: tuple[Store, Store]) -> None:
    folder, served = stores
    for item in folder.list("backups/"):
        assert served.read_small(item.key) == folder.read_small(item.key)
        assert served.size(item.key) == item.size
    assert not served.exists("backups/none/manifest.json")


@pytest.mark.parametrize("delimiter", ["", "/"])
@pytest.mark.parametrize("largest", [1, 2, 3, 7, 1000])
def test_pages_follow_each_other(client: Any, delimiter: str, largest: int) -> None:
    wanted = {"Bucket": BUCKET, "Prefix": "igny8/packs/web-1/", "Delimiter": delimiter}
    whole = client.list_objects_v2(**wanted)
    assert not whole["IsTruncated"]
    pages = client.get_paginator("list_objects_v2").paginate(**wanted, PaginationConfig={"PageSize": largest})
    found: dict[str, list[str]] = {"Key": [], "Prefix": []}
    for page in pages:
        keys = [item["Key"] for item in page.get("Contents", ())]
        folders = [item["Prefix"] for item in page.get("CommonPrefixes", ())]
        assert 0 < len(keys) + len(folders) == page["KeyCount"] <= largest
        found["Key"] += keys
        found["Prefix"] += folders
    assert found["Key"] == [item["Key"] for item in whole.get("Contents", ())] == sorted(found["Key"])
    assert found["Prefix"] == [item["Prefix"] for item in whole.get("CommonPrefixes", ())]


def test_listing_begins_behind_a_key(client: Any) -> None:
    wanted = {"Bucket": BUCKET, "Prefix": "igny8/packs/"}
    keys = [item["Key"] for item in client.list_objects_v2(**wanted)["Contents"]]
    for after, first in ((keys[4], 5), (keys[4] + "!", 5), ("igny8/a", 0)):
        found = client.list_objects_v2(**wanted, StartAfter=after)["Contents"]
        assert [item["Key"] for item in found] == keys[first:]
    assert client.list_objects_v2(**wanted, StartAfter=keys[-1])["KeyCount"] == 0


def test_ranges_and_conditions(client: Any) -> None:
    found = {"Bucket": BUCKET, "Key": "igny8/packs.txt"}
    assert client.get_object(**found)["Body"].read() == b"packs.txt"
    for wanted, body, given in (
        ("bytes=2-4", b"cks", "bytes 2-4/9"),
        ("bytes=6-", b"txt", "bytes 6-8/9"),
        ("bytes=-2", b"xt", "bytes 7-8/9"),
        ("bytes=7-99", b"xt", "bytes 7-8/9"),
    ):
        answer = client.get_object(**found, Range=wanted)
        assert (answer["Body"].read(), answer["ContentRange"]) == (body, given)
    for changed, code in (({"Range": "bytes=9-"}, "InvalidRange"), ({"IfMatch": "0"}, "PreconditionFailed")):
        with pytest.raises(ClientError, match=code):
            client.get_object(**found, **changed)
    with pytest.raises(ClientError, match="PreconditionFailed"):
        client.put_object(**found, Body=b"other", IfNoneMatch="*")


def test_written_and_deleted_objects_are_listed_so(stores: tuple[Store, Store]) -> None:
    served = stores[1]
    names = [f"state/{number}" for number in range(5)]
    for name in names:
        served.put_small(name, b"old")
        served.put_small(name, b"new")  # its ETag is compared with the MD5 digest
    assert served.read_small(names[0]) == b"new"
    assert [item.key for item in served.list("state/")] == names
    served.delete(names[0])
    served.delete(names[0])
    assert list(served.delete_several(names[1:4], check=lambda: None)) == names[1:4]
    assert [item.key for item in served.list("state/")] == names[4:]


def test_bucket_is_plain(stores: tuple[Store, Store], client: Any) -> None:
    served = stores[1]
    assert served.abandoned_uploads() == [] and served.public_access() == ""
    protection = served.protection()
    assert protection and protection.versions is False and protection.locking is False
    assert client.head_bucket(Bucket=BUCKET)["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert client.get_bucket_location(Bucket=BUCKET)["LocationConstraint"] is None
