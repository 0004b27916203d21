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

from igny8_backup.store import Store, open_store
from igny8_backup.store.s3 import S3Store
from tests.services import unavailable
from tests.services.proxy import CuttingProxy
from tests.services.s3 import RcloneS3, installed

OpenStore = Callable[..., S3Store]


class PlainFiles(FileSystemStorage):
    """A subclass of Django's storage, which is used through Django's API."""


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RcloneS3]:
    """A real S3 server."""
    program = installed()
    if program is None:
        unavailable("rclone is not installed.")
    with RcloneS3(program, tmp_path_factory.mktemp("s3")) as server:
        yield server


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
    assert [thread for thread in set(threading.enumerate()) - before if thread.name != "proxy"] == []


@pytest.fixture(scope="session")
def s3_storages() -> dict[str, S3Storage]:
    """Storages by their options. They are reused, because a boto3 client takes half a second to create."""
    return {}


@pytest.fixture
def open_s3(s3_server: RcloneS3, s3_storages: dict[str, S3Storage]) -> Iterator[OpenStore]:
    """Return a function that opens stores on S3 in a location of the test; keywords are storage options."""
    own = f"tests/{uuid.uuid4().hex}"
    with ExitStack() as stack:

        def make(endpoint: str = "", prefix: str = "igny8/", location: str = own, **changed: Any) -> S3Store:
            asked = f"{endpoint} {sorted(changed.items())}"
            if asked not in s3_storages:
                s3_storages[asked] = S3Storage(**s3_server.options(endpoint, **changed))
            storage = s3_storages[asked]
            storage.location = location
            return stack.enter_context(S3Store(storage, prefix, pause=0.01))

        yield make


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The location of ``local_store``, which does not exist yet."""
    return tmp_path / "storage"


@pytest.fixture
def local_store(root: Path) -> Store:
    """A store on a folder, with the prefix igny8/."""
    return open_store(FileSystemStorage(location=root), "igny8/")


@pytest.fixture(
    params=["local", pytest.param("s3", marks=pytest.mark.services), "generic files", "generic memory"]
)
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Store]:
    """Return a function that opens a store of one kind with a prefix; all calls use the same storage."""
    storage: Storage
    match request.param:
        case "s3":
            opened: OpenStore = request.getfixturevalue("open_s3")
            return lambda prefix: opened(prefix=prefix)
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
