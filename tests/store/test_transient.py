"""Storages other than S3 that fail for a while, and which failures may pass."""

from __future__ import annotations

import errno
import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from django.core.files.base import File
from django.core.files.storage import InMemoryStorage

from igny8_backup.errors import StorageError
from igny8_backup.store import Retry, Store, UnreachableError, open_store
from igny8_backup.store.base import SMALL_STREAM
from igny8_backup.store.transient import may_pass
from igny8_backup.streams import BLOCK, Blocks
from igny8_backup.streams.pipeline import from_bytes
from tests.services.shim import build_shim, refusing

REPOSITORY = Path(__file__).parents[2]


if TYPE_CHECKING:
    AnyFile: TypeAlias = File[Any]
else:
    AnyFile = File


class HttpError(Exception):
    """An error as the client libraries of cloud storages raise it."""

    def __init__(self, status: int) -> None:
        super().__init__("https://user:hunter2@host said no")
        self.status_code = status


class FlakyFile(AnyFile):
    """A file that breaks off after its first chunks, if the storage is to fail."""

    def __init__(self, file: Any, name: str, storage: Flaky) -> None:
        super().__init__(file, name)
        self.storage = storage

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        for number, chunk in enumerate(super().chunks(chunk_size)):
            if number == 2:
                self.storage.fail()
            yield chunk

    def close(self) -> None:
        """Leave the content open, which the storage keeps in memory."""


class StorageInMemory(InMemoryStorage):
    """Declares the methods that Django's documentation tells subclasses to override; its stubs lack them."""

    if TYPE_CHECKING:

        def _save(self, name: str, content: File[Any]) -> str: ...
        def _open(self, name: str, mode: str = "rb") -> File[Any]: ...


class Flaky(StorageInMemory):
    """A storage whose every method fails as often as ``failures`` says."""

    failures: list[Exception]

    def fail(self) -> None:
        if self.failures:
            raise self.failures.pop()

    def _save(self, name: str, content: File[Any]) -> str:
        if self.failures:
            super()._save(name, File(content.file, name))  # the answer is lost
        self.fail()
        return super()._save(name, content)

    def _open(self, name: str, mode: str = "rb") -> File[Any]:
        opened = super()._open(name, mode)
        return FlakyFile(opened.file, name, self) if mode == "rb" else opened

    def exists(self, name: str) -> bool:
        self.fail()
        return bool(super().exists(name))

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        self.fail()
        return super().listdir(path)

    def delete(self, name: str) -> None:
        self.fail()
        super().delete(name)


FAILURES: dict[str, Callable[[], Exception]] = {
    "reset": lambda: ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    "stale": lambda: OSError(errno.ESTALE, "Stale file handle"),
    "503": lambda: HttpError(503),
    "429": lambda: HttpError(429),
}
DATA = os.urandom(4 * BLOCK - 5)
CALLS: dict[str, Callable[[Store], object]] = {
    "list": lambda store: list(store.list()),
    "list_dirs": lambda store: store.list_dirs(),
    "exists": lambda store: store.exists("a"),
    "open": lambda store: store.read_small("a"),
    "put": lambda store: store.put("new", from_bytes(b"data")),
    "put_small": lambda store: store.put_small("a", DATA),
    "delete": lambda store: store.delete("b"),
}


@pytest.fixture
def flaky(tmp_path: Path) -> Flaky:
    storage = Flaky(location=str(tmp_path))
    storage.failures = []
    return storage


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_each_call_of_another_storage_survives_failures(
    flaky: Flaky, call: Callable[[Store], object], failure: Callable[[], Exception]
) -> None:
    store = open_store(flaky, "igny8/", Retry(60, first_pause=0.001))
    store.put("a", from_bytes(DATA))
    store.put("b", from_bytes(b"b"))
    flaky.failures = [failure() for _ in range(3)]
    call(store)
    assert flaky.failures == []
    assert store.read_small("a") == DATA


def test_large_stream_to_another_storage_is_sent_once_and_leaves_nothing(flaky: Flaky) -> None:
    store = open_store(flaky, "igny8/", Retry(60, first_pause=0.001))

    def source() -> Blocks:
        for _ in range(SMALL_STREAM // BLOCK + 2):
            yield os.urandom(BLOCK)
        flaky.failures = [HttpError(503)]

    with pytest.raises(UnreachableError, match="HttpError") as caught:
        store.put("a", source())
    assert "hunter2" not in str(caught.value)
    assert list(store.list()) == []


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (HttpError(500), True),
        (HttpError(404), False),
        (HttpError(501), False),
        (HttpError(507), False),
        (TimeoutError(), True),
        (OSError(errno.ENOTCONN, "Transport endpoint is not connected"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (PermissionError(errno.EACCES, "Permission denied"), False),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), False),
        (EOFError(), True),
        (ssl.SSLError(1, "bad record mac"), True),
        (ssl.SSLCertVerificationError(1, "self-signed certificate"), False),
        (ConnectionError(ssl.SSLCertVerificationError(1, "self-signed certificate")), False),
        (ValueError("wrong settings"), False),
    ],
)
def test_may_pass_judges_by_status_number_and_class(error: Exception, expected: bool) -> None:
    assert may_pass(error) is expected


WRITES = """
import sys
from django.conf import settings
settings.configure()
from django.core.files.storage import FileSystemStorage
from igny8_backup.store import Retry, open_store
from igny8_backup.streams.pipeline import from_bytes
retry = Retry(float(sys.argv[2]), first_pause=0.001, report=print)
store = open_store(FileSystemStorage(location=sys.argv[1]), "igny8/", retry)
store.put("a", from_bytes(b"data"))
store.put_small("b", b"data")
print(*(stored.key for stored in store.list()))
"""


def test_folder_that_fails_for_a_while_is_tried_again(tmp_path: Path) -> None:
    """A soft NFS mount answers EIO while its server is away."""
    env = {**os.environ, **refusing(build_shim(tmp_path), times=3, fsync=errno.EIO)}
    run = [sys.executable, "-c", WRITES, str(tmp_path / "storage"), "60"]
    done = subprocess.run(run, cwd=REPOSITORY, env=env, capture_output=True, text=True)
    began, ended, listed = done.stdout.splitlines()
    assert "Input/output error. Retrying for up to 1 minute." in began
    assert ended.startswith("The storage answers again") and listed == "a b"


def test_folder_that_is_full_is_not_tried_again(tmp_path: Path) -> None:
    env = {**os.environ, **refusing(build_shim(tmp_path), times=3, fsync=errno.ENOSPC)}
    run = [sys.executable, "-c", WRITES, str(tmp_path / "storage"), "60"]
    done = subprocess.run(run, cwd=REPOSITORY, env=env, capture_output=True, text=True)
    assert done.returncode == 1 and StorageError.__name__ in done.stderr
    assert "No space is left" in done.stderr
