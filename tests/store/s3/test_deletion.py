"""Many objects are deleted with one request, or one by one where the server refuses that."""

from __future__ import annotations

import pytest
from storages.backends.s3 import S3Storage

from igny8_backup.store import UnreachableError
from igny8_backup.store.s3 import S3Store, deletion
from tests.services.moto import MotoServer
from tests.services.proxy import CuttingProxy, error_answer
from tests.store.conftest import OpenStore
from tests.store.test_contract import fill, listed

pytestmark = pytest.mark.services

KEYS = ["backups/a/db/x", "backups/a/db/y", "backups/a/z", "packs/h/t/1"]


def deleted(store: S3Store, keys: list[str]) -> tuple[list[str], int]:
    """Delete objects; return the keys of those that are gone, sorted, and how often the lock was checked."""
    checks = [0]

    def check() -> None:
        checks[0] += 1

    return sorted(store.delete_several(keys, check)), checks[0]


def test_delete_several_needs_one_request(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    store = open_s3(proxy.endpoint)
    fill(store, *KEYS, "kept")
    store.delete_several([], lambda: None)
    proxy.forget()
    assert deleted(store, [*KEYS, "missing"]) == (sorted([*KEYS, "missing"]), 1)
    asked = [one for one in proxy.asked if "versioning" not in one]
    assert len(asked) == 1 and asked[0].startswith("POST /backups?delete")
    assert listed(store) == ["kept"]


def test_delete_several_more_than_one_request_can_name(
    open_s3: OpenStore, proxy: CuttingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "LARGEST_GROUP", 3)
    store = open_s3(proxy.endpoint)
    fill(store, *KEYS)
    assert deleted(store, KEYS)[0] == sorted(KEYS)
    assert listed(store) == []


@pytest.mark.parametrize("status", [400, 501])
def test_delete_several_refused_deletes_one_by_one(
    open_s3: OpenStore, proxy: CuttingProxy, status: int
) -> None:
    store = open_s3(proxy.endpoint)
    fill(store, *KEYS)
    proxy.forge_answer(b"POST", error_answer(status, "NotImplemented"))
    assert deleted(store, KEYS[:2])[0] == sorted(KEYS[:2])
    proxy.forget()
    assert deleted(store, KEYS[2:])[0] == sorted(KEYS[2:])
    assert listed(store) == []
    assert not any(one.startswith("POST") for one in proxy.asked)


def test_delete_several_unreachable_server_raises(open_s3: OpenStore, proxy: CuttingProxy) -> None:
    store = open_s3(proxy.endpoint)
    fill(store, *KEYS)
    proxy.forge_answer(b"POST", error_answer(503, "SlowDown"))
    with pytest.raises(UnreachableError):
        deleted(store, KEYS)
    assert listed(store) == sorted(KEYS)


def test_delete_several_in_bucket_with_versions_leaves_none(moto_server: MotoServer) -> None:
    with S3Store(S3Storage(**moto_server.options(moto_server.bucket())), "igny8/") as store:
        fill(store, *KEYS)
        store.put_small(KEYS[0], b"again")
        assert deleted(store, KEYS) == (sorted(KEYS), len(KEYS))
        assert listed(store) == []
        assert [store.versions(key) for key in KEYS] == [[]] * len(KEYS)
