"""What is said about connections to storages that fail, in words and with the server's address."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from igny8_backup.errors import StorageError
from igny8_backup.store import Retry, UnreachableError, open_store
from igny8_backup.store.connection_failure import connection_failure

HANG_UP, TALK = "hang up", "talk"


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.fixture(params=[HANG_UP, TALK])
def strange_server(request: pytest.FixtureRequest) -> Iterator[tuple[int, str]]:
    """Yield the port of a server that closes each connection, or that does not speak TLS."""
    behaviour: str = request.param
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.1)
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                try:
                    connection, _ = listening.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.recv(4096)
                    if behaviour == TALK:
                        connection.sendall(b"Good evening\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield int(listening.getsockname()[1]), behaviour
        finally:
            ended.set()
            thread.join()


def azure(endpoint: str) -> Any:
    module = pytest.importorskip("storages.backends.azure_storage")
    return module.AzureStorage(
        connection_string=f"AccountName=account;AccountKey=QUJD;BlobEndpoint={endpoint}/account;",
        azure_container="backups",
    )


def google(endpoint: str) -> Any:
    module = pytest.importorskip("storages.backends.gcloud")
    credentials = pytest.importorskip("google.auth.credentials").AnonymousCredentials()
    os.environ["STORAGE_EMULATOR_HOST"] = endpoint
    return module.GoogleCloudStorage(bucket_name="backups", project_id="project", credentials=credentials)


def s3(endpoint: str) -> Any:
    module = pytest.importorskip("storages.backends.s3")
    return module.S3Storage(
        bucket_name="backups",
        access_key="access-key",
        secret_key="secret-key",  # noqa: S106 - of no real account
        region_name="us-east-1",
        endpoint_url=endpoint,
    )


@pytest.fixture(params=[azure, google, s3], ids=["azure", "google", "s3"])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Return a function that makes the storage for a server."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "")
    found: Callable[[str], Any] = request.param
    return found


def test_refused_connection_names_the_server_while_it_is_tried_again(
    make: Callable[[str], Any], closed_port: int
) -> None:
    address, notes = f"127.0.0.1:{closed_port}", list[str]()
    retry = Retry(1, first_pause=0.001, report=notes.append)
    with (
        open_store(make(f"http://{address}"), "igny8/", retry) as store,
        pytest.raises(UnreachableError) as caught,
    ):
        store.put_small("a", b"data")
    assert f": {address} refused the connection. Retrying for up to 1 second." in notes[0]
    assert f": {address} refused the connection. All " in caught.value.what
    assert "Check the network" in str(caught.value)


def test_unknown_host_name_is_reported_as_such(make: Callable[[str], Any]) -> None:
    with (
        open_store(make("http://nowhere.invalid"), "igny8/") as store,
        pytest.raises(UnreachableError) as caught,
    ):
        list(store.list())
    assert caught.value.what.endswith(": the host name nowhere.invalid cannot be resolved.")


def test_strange_server_is_described(make: Callable[[str], Any], strange_server: tuple[int, str]) -> None:
    port, behaviour = strange_server
    storage = make(f"{'https' if behaviour == TALK else 'http'}://127.0.0.1:{port}")
    with open_store(storage, "igny8/") as store, pytest.raises(UnreachableError) as caught:
        store.put_small("a", b"data")
    assert caught.value.what.endswith(
        f": the encrypted connection to 127.0.0.1:{port} failed."
        if behaviour == TALK
        else f": 127.0.0.1:{port} closed the connection."
    )


class OfAPool(Exception):
    """An error of urllib3, which has the pool of connections in which it happened."""

    def __init__(self, reason: BaseException) -> None:
        super().__init__("https://user:hunter2@host failed")
        self.reason = reason
        self.pool = self
        self.host, self.port = "storage.example", 443


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("wrong settings"), ""),
        (StorageError("said before"), ""),
        (OfAPool(TimeoutError()), "storage.example:443 did not answer in time"),
        (OfAPool(OSError(errno.EHOSTUNREACH, "No route to host")), "No route to host: storage.example:443"),
        (ConnectionError(ConnectionRefusedError()), "the server refused the connection"),
    ],
)
def test_connection_failure_is_put_in_words(error: Exception, text: str) -> None:
    assert connection_failure(error) == text
