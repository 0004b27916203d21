"""An S3 server with versions and Object Lock: ``python -m moto.server``."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
from botocore.config import Config

START_SECONDS = 60
REGION = "us-east-1"
ACCESS_KEY = SECRET_KEY = "moto-access-key"


def installed() -> bool:
    """Return whether moto and the web framework of its server are installed."""
    return all(importlib.util.find_spec(name) for name in ("moto", "flask", "flask_cors"))


class MotoServer:
    """A server on 127.0.0.1, as a context manager. It keeps its buckets in memory.

    ``environment`` are more environment variables for the server. Source: moto's documentation, "Server
    Mode".
    """

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.access_key, self.secret_key = ACCESS_KEY, SECRET_KEY

    @property
    def endpoint(self) -> str:
        """The URL to give to a client."""
        return f"http://127.0.0.1:{self.port}"

    def client(self, service: str = "s3", access_key: str = ACCESS_KEY, secret_key: str = SECRET_KEY) -> Any:
        """Return a boto3 client, by default with all permissions. The caller closes it."""
        return boto3.client(
            service,  # type: ignore[call-overload]  # any service
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            config=Config(s3={"addressing_style": "path"}),
        )

    def bucket(self, *, versions: bool = True, lock: bool = False) -> str:
        """Create a bucket with a name of its own and return the name."""
        name = f"backups-{uuid.uuid4().hex[:12]}"
        client = self.client()
        client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=lock)
        if versions and not lock:
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        client.close()
        return name

    def options(self, bucket: str, **changed: Any) -> dict[str, Any]:
        """Return OPTIONS of an ``S3Storage`` on ``bucket``."""
        return {
            "bucket_name": bucket,
            "endpoint_url": self.endpoint,
            "region_name": REGION,
            "access_key": self.access_key,
            "secret_key": self.secret_key,
            "client_config": Config(
                retries={"total_max_attempts": 1}, connect_timeout=10, s3={"addressing_style": "path"}
            ),
            **changed,
        }

    def __enter__(self) -> Self:
        self.choose_port()
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self.start(command, {**os.environ, "PYTHONDEVMODE": "", **self._environment})
        self.wait_for(self._accepts, START_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def choose_port(self) -> None:
        """Choose a free port for the server."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def start(self, command: list[str], environment: dict[str, str]) -> None:
        """Start the server with its output in a file."""
        with (self.folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def wait_for(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until the server is ready. Raises ``RuntimeError`` with its output if it ends or hangs."""
        deadline = time.monotonic() + seconds
        while self._process and self._process.poll() is None and time.monotonic() < deadline:
            if ready():
                return
        self.stop()
        raise RuntimeError(f"The server did not start: {(self.folder / 'server.log').read_text()[-1000:]}")

    def _accepts(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
            return True
        except OSError:
            time.sleep(0.05)
            return False

    def stop(self) -> None:
        """Stop the server, if it runs."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait(30)
