"""An S3 server that locks objects as Amazon does: LocalStack, in an environment of its own.

moto lets locks be shortened and skips them for multipart uploads; LocalStack 4 does not. It needs Python 3.13
and other versions of packages than this project, so it is installed once into a folder of the cache.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.services.moto import MotoServer

REQUIREMENTS = [
    "localstack-core[base-runtime]<5",
    # Later versions of these do not work with LocalStack 4.
    "setuptools<81",
    "cbor2<5.8",
    "cryptography<43",
    "pyopenssl==24.2.1",
    "service_identity",
]
START_SECONDS = 120
INSTALL_SECONDS = 900


def cache_folder() -> Path:
    """Return the folder of the environment: ``LOCALSTACK_ENVIRONMENT``, or one in the cache of the user."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("LOCALSTACK_ENVIRONMENT") or Path(cache, "igny8-backup", "localstack-4"))


def python_313() -> str | None:
    """Return the path of a Python 3.13, or ``None``."""
    candidates = [shutil.which("python3.13")]
    for pattern in (
        ".pyenv/versions/3.13*/bin/python",
        ".local/share/uv/python/cpython-3.13*/bin/python3.13",
    ):
        candidates += map(str, Path.home().glob(pattern))
    if sys.version_info[:2] == (3, 13):
        candidates.insert(0, sys.executable)
    for program in filter(None, candidates):
        # A shim of pyenv exists although its version may be switched off.
        shown = subprocess.run([program, "-V"], capture_output=True, text=True, check=False)
        if shown.returncode == 0 and "3.13" in shown.stdout:
            return program
    return None


def install() -> Path | None:
    """Install LocalStack if it is missing; return the Python of its environment, or ``None`` without 3.13."""
    folder = cache_folder()
    program, done = folder / "bin" / "python", folder / "installed"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several workers may want it at the same time
        if not done.exists():
            base = python_313()
            if base is None:
                return None
            subprocess.run([base, "-m", "venv", folder], check=True, timeout=INSTALL_SECONDS)
            command = [str(program), "-m", "pip", "install", "--quiet", *REQUIREMENTS]
            subprocess.run(command, check=True, timeout=INSTALL_SECONDS)
            done.touch()
    return program


class LocalStack(MotoServer):
    """LocalStack's S3 on 127.0.0.1, as a context manager. ``program`` is the Python of its environment."""

    def __init__(self, folder: Path, program: Path) -> None:
        super().__init__(folder)
        self._program = program

    def __enter__(self) -> Self:
        self.choose_port()
        environment = {
            "HOME": str(self.folder),
            "PATH": os.environ["PATH"],
            "SERVICES": "s3",
            "DNS_ADDRESS": "0",
            "SKIP_SSL_CERT_DOWNLOAD": "1",
            "DISABLE_EVENTS": "1",
            "GATEWAY_LISTEN": f"127.0.0.1:{self.port}",
        }
        self.start([str(self._program), "-m", "localstack.runtime.main"], environment)
        self.wait_for(self._is_ready, START_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint}/_localstack/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            time.sleep(0.2)
            return False
