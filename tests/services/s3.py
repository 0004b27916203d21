"""An S3 server: ``rclone serve s3``."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
from botocore.config import Config

START_SECONDS = 30
PORT_ATTEMPTS = 5
REGION = "us-east-1"


def installed() -> Path | None:
    """Return the path of ``rclone``: next to this Python, else on PATH; or ``None``."""
    beside = Path(sys.executable).with_name("rclone")
    found = str(beside) if beside.is_file() else shutil.which("rclone")
    return Path(found) if found else None


class RcloneS3:
    """A server on 127.0.0.1 with one bucket, as a context manager; buckets are folders in ``folder``.

    It has no versions and ignores ``If-None-Match`` and ``If-Match``.
    """

    def __init__(self, program: Path, folder: Path) -> None:
        self.program = program
        self.folder = folder
        self.bucket = "backups"
        self.port = 0
        # It takes keys of eight characters and more.
        self.access_key = secrets.token_hex(8)
        self.secret_key = secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """The URL to give to a client."""
        return f"http://127.0.0.1:{self.port}"

    def options(self, endpoint: str = "", **changed: Any) -> dict[str, Any]:
        """Return OPTIONS of an ``S3Storage`` on the bucket, with one attempt per request, so that tests fail
        fast."""
        return {
            "bucket_name": self.bucket,
            "endpoint_url": endpoint or self.endpoint,
            "region_name": REGION,
            "access_key": self.access_key,
            "secret_key": self.secret_key,
            "client_config": Config(
                retries={"total_max_attempts": 1}, connect_timeout=10, s3={"addressing_style": "path"}
            ),
            **changed,
        }

    def client(self) -> Any:
        """Return a boto3 client, which the caller closes."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
        )

    def __enter__(self) -> Self:
        buckets = self.folder / "buckets"
        (buckets / self.bucket).mkdir(parents=True)
        log = self.folder / "rclone.log"
        for _ in range(PORT_ATTEMPTS):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
            with log.open("wb") as output:
                self._process = subprocess.Popen(
                    [self.program, "serve", "s3", "--addr", f"127.0.0.1:{self.port}", buckets],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env={
                        "HOME": str(self.folder),
                        "RCLONE_CONFIG": os.devnull,
                        "RCLONE_DIR_CACHE_TIME": "1ms",  # tests put files into its folders behind its back
                        "RCLONE_AUTH_KEY": f'"{self.access_key},{self.secret_key}"',
                    },
                    start_new_session=True,
                )
            if self._answers(self._process):
                return self
            self.stop()
        raise RuntimeError(f"rclone did not start: {log.read_text(errors='replace')[-1000:]}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop the server, if it runs."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait(30)

    def _answers(self, process: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
                    connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    if connection.recv(4096).startswith(b"HTTP/1."):
                        return True
            except OSError:
                pass
            time.sleep(0.02)
        return False
