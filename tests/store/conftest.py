"""Fixtures: a store of every kind, without settings of a project."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage, InMemoryStorage, Storage
from storages.backends.s3 import S3Storage

from igny8_backup.store import Retry, Store, open_store
from igny8_backup.store.s3 import S3Store
from tests.services import clouds
from tests.services.clouds import Cloud
from tests.services.proxy import CuttingProxy
from tests.services.s3 import RcloneS3

OpenStore = Callable[..., S3Store]


class PlainFiles(FileSystemStorage):
    """A subclass of Django's storage, which is used through Django's API."""


@pytest.fixture(scope="session")
def s3_proxy(s3_server: RcloneS3) -> Iterator[CuttingProxy]:
    """A proxy in front of the S3 server."""
    with CuttingProxy(s3_server.port) as proxy:
        yield proxy


@pytest.fixture
def proxy(s3_proxy: CuttingProxy) -> Iterator[CuttingProxy]:
    """The same proxy, reset: it forwards everything."""
    yield s3_proxy
    s3_proxy.refuse()
    s3_proxy.forget()
    s3_proxy.accept()


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Assert that a test leaves no thread behind, except those of the proxy."""
    before = set(threading.enumerate())
    yield
    # A request that was given up ends when the proxy closes its connection. Google's library sends metrics.
    left = [
        item
        for item in set(threading.enumerate()) - before
        if not item.name.startswith(("proxy", "s3-", "store-")) and "_background" not in item.name
    ]
    assert left == []


@pytest.fixture(scope="session")
def s3_storages() -> dict[str, S3Storage]:
    """Storages by their options. They are reused, because a boto3 client takes half a second to create."""
    return {}


@pytest.fixture
def open_s3(s3_server: RcloneS3, s3_storages: dict[str, S3Storage]) -> Iterator[OpenStore]:
    """Return a function that opens stores on S3 in a location of the test; keywords are storage options."""
    own = f"tests/{uuid.uuid4().hex}"
    with ExitStack() as stack:

        def make(
            endpoint: str = "",
            prefix: str = "igny8/",
            location: str = own,
            retry: Retry | None = None,
            **changed: Any,
        ) -> S3Store:
            asked = f"{endpoint} {sorted(changed.items())}"
            if asked not in s3_storages:
                s3_storages[asked] = S3Storage(**s3_server.options(endpoint, **changed))
            storage = s3_storages[asked]
            storage.location = location
            return stack.enter_context(S3Store(storage, prefix, retry))

        yield make


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The location of ``local_store``, which does not exist yet."""
    return tmp_path / "storage"


@pytest.fixture
def local_store(root: Path) -> Store:
    """A store on a folder, with the prefix igny8/."""
    return open_store(FileSystemStorage(location=root), "igny8/")


@pytest.fixture(scope="session")
def azure_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """Azure's emulator."""
    with clouds.azure(tmp_path_factory.mktemp("azure")) as cloud:
        yield cloud


@pytest.fixture(scope="session")
def google_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """An emulator of Google Cloud Storage."""
    with clouds.google(tmp_path_factory.mktemp("google")) as cloud:
        yield cloud


@pytest.fixture(scope="session")
def sftp_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A real SFTP server."""
    with clouds.sftp(tmp_path_factory.mktemp("sftp")) as cloud:
        yield cloud


@pytest.fixture(
    params=[
        "local",
        "generic files",
        "generic memory",
        *(pytest.param(kind, marks=pytest.mark.services) for kind in ("s3", "azure", "google", "sftp")),
    ]
)
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Store]:
    """Return a function that opens a store of one kind with a prefix; all calls use the same storage."""
    storage: Storage
    match request.param:
        case "s3":
            opened: OpenStore = request.getfixturevalue("open_s3")
            return lambda prefix: opened(prefix=prefix)
        case "azure" | "google" | "sftp" as kind:
            cloud: Cloud = request.getfixturevalue(f"{kind}_server")
            storage = cloud.make(f"tests/{uuid.uuid4().hex}")
            opened_stores: list[Store] = []

            def opened_store(prefix: str) -> Store:
                opened_stores.append(open_store(storage, prefix))
                return opened_stores[-1]

            def close() -> None:
                for store in opened_stores:
                    store.close()

            request.addfinalizer(close)
            return opened_store
        case "local":
            storage = FileSystemStorage(location=tmp_path / "storage")
        case "generic files":
            storage = PlainFiles(location=tmp_path / "storage")
        case _:
            storage = InMemoryStorage(location=tmp_path / "storage")
    # A location that does not exist is a disk that is not mounted: see the tests of the local store.
    (tmp_path / "storage").mkdir()
    return lambda prefix: open_store(storage, prefix)


@pytest.fixture
def store(make_store: Callable[[str], Store]) -> Store:
    """An empty store of each kind."""
    return make_store("igny8/")
