"""S3 that cannot be used raises with the reason, and never looks empty."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from igny8_backup.errors import StorageError
from igny8_backup.store import MissingObjectError, Store, UnreachableError
from igny8_backup.streams.pipeline import from_bytes
from tests.services.proxy import CuttingProxy
from tests.services.s3 import RcloneS3
from tests.store.conftest import OpenStore

CALLS: dict[str, Callable[[Store], object]] = {
    "list": lambda store: list(store.list()),
    "list_dirs": lambda store: store.list_dirs("backups"),
    "exists": lambda store: store.exists("a"),
    "size": lambda store: store.size("a"),
    "open": lambda store: next(store.open("a")),
    "put": lambda store: store.put("a", from_bytes(b"data")),
    "put claimed": lambda store: store.put("a", from_bytes(b"data"), claimed=True),
    "put_small": lambda store: store.put_small("a", b"data"),
    "delete": lambda store: store.delete("a"),
    "list_page": lambda store: store.list_page("backups", "backups/a"),
    "abandoned_uploads": lambda store: store.abandoned_uploads(),
}
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@each_call
def test_missing_bucket_is_named(open_s3: OpenStore, call: Callable[[Store], object]) -> None:
    with pytest.raises(StorageError, match=r"the bucket nowhere at .*does not exist") as caught:
        call(open_s3(bucket_name="nowhere"))
    assert not isinstance(caught.value, MissingObjectError)


@each_call
def test_wrong_credentials_are_reported_without_them(
    open_s3: OpenStore, call: Callable[[Store], object]
) -> None:
    with pytest.raises(StorageError, match=r"credentials are wrong|access denied") as caught:
        call(open_s3(secret_key="a-wrong-secret"))
    assert "a-wrong-secret" not in str(caught.value)


@each_call
def test_unreachable_server_is_named(
    open_s3: OpenStore, proxy: CuttingProxy, call: Callable[[Store], object]
) -> None:
    proxy.refuse()
    with pytest.raises(UnreachableError, match=f": 127.0.0.1:{proxy.port} refused the connection"):
        call(open_s3(proxy.endpoint))


def test_settings_refused_by_boto3_raise_storage_error(open_s3: OpenStore) -> None:
    with pytest.raises(StorageError, match="boto3 refuses"):
        open_s3("this is no url")
    with pytest.raises(StorageError, match="names no bucket"):
        open_s3(bucket_name=None)


def test_identity_and_description_contain_no_secret(open_s3: OpenStore, s3_server: RcloneS3) -> None:
    store = open_s3(location="site/one")
    where = f"127.0.0.1:{s3_server.port}"
    assert store.identity() == f"s3://{where}/backups/site/one/igny8/"
    assert store.describe() == f"the bucket backups at {where}, under site/one/igny8/"
    assert store.local_path() is None
    at_root = open_s3(f"http://user:hunter2@{where}", location="", prefix="")
    assert at_root.identity() == f"s3://{where}/backups/"
    assert at_root.describe() == f"the bucket backups at {where}"


def test_listings_span_several_pages(open_s3: OpenStore, s3_server: RcloneS3) -> None:
    store = open_s3()
    folder = s3_server.folder / "buckets" / s3_server.bucket / store._key("igny8/many")
    folder.mkdir(parents=True)
    for number in range(1_100):
        (folder / f"{number:04}").touch()
    assert [stored.key for stored in store.list("many")] == [f"many/{number:04}" for number in range(1_100)]
    first, following = store.list_page("many", "many/0049") or ([], "")
    assert [stored.key for stored in first] == [f"many/{number:04}" for number in range(50, 1_050)]
    assert following == "many/1049"
    rest, following = store.list_page("many", following) or ([], "")
    assert ([stored.key for stored in rest], following) == ([f"many/{n:04}" for n in range(1_050, 1_100)], "")
    assert store.list_page("many", "many/9") == ([], "")


def test_folder_markers_are_no_objects(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    store = open_s3(proxy.endpoint)
    name = store._key("igny8/")
    entry = (
        "<Contents><Key>{}</Key><Size>{}</Size><LastModified>2026-11-22T02:15:00Z</LastModified></Contents>"
    )
    body = f"<ListBucketResult>{entry.format(name, 0)}{entry.format(name + 'a', 4)}</ListBucketResult>"
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    proxy.forge_answer(b"list-type=2", (head + body).encode())
    assert [(stored.key, stored.size) for stored in store.list()] == [("a", 4)]


def test_closed_store_connects_again(open_s3: OpenStore) -> None:
    store = open_s3()
    store.put_small("a", b"data")
    store.close()
    assert store.read_small("a") == b"data"
