"""A PostgreSQL server that tests may fill up and stop, a connection pooler, and a running command."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
from demo.account import ENVIRONMENT, private_folder, server_account
from demo.server import PostgresServer

from tests.management.commands import Done
from tests.services import unavailable
from tests.services.project import Project

SECONDS = 60
PORT_ATTEMPTS = 5


class OwnServer(PostgresServer):
    """A server with few connections that restarts on the same port."""

    def _options(self) -> list[str]:
        return [*super()._options(), "-c", "max_connections=20"]

    def start_again(self) -> None:
        """Start the server again after :meth:`stop`."""
        self._process = self._spawn()
        assert self._answers(self._process), self._last_words()

    @contextmanager
    def full(self) -> Iterator[None]:
        """Use every connection that is available to a role without privileges."""
        with ExitStack() as stack:
            try:
                while True:
                    stack.enter_context(self.connect())
            except psycopg.OperationalError:
                yield

    @contextmanager
    def granted(self, grant: str, revoke: str, database: str = "postgres") -> Iterator[None]:
        """Execute ``revoke`` as the superuser at the start of the block, and ``grant`` at its end."""
        with self.connect(database, superuser=True) as session:
            session.execute(revoke.encode())
            try:
                yield
            finally:
                session.execute(grant.encode())


@contextmanager
def pgbouncer(server: PostgresServer) -> Iterator[int]:
    """Run PgBouncer in transaction mode in front of the server; yield its port."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        unavailable("PgBouncer is not installed.")
    folder = private_folder("igny8-pooler-")
    try:
        for port in range(server.port + 1, server.port + 1 + PORT_ATTEMPTS):
            process = _start_pgbouncer(Path(program), folder, server, port)
            try:
                if _listens(server, port, process):
                    yield port
                    return
            finally:
                process.terminate()
                process.wait(SECONDS)
        raise RuntimeError((folder / "log").read_text())
    finally:
        shutil.rmtree(folder)


def _start_pgbouncer(
    program: Path, folder: Path, server: PostgresServer, port: int
) -> subprocess.Popen[bytes]:
    account = server_account()
    (folder / "users").write_text(f'"{server.role}" "{server.password}"\n')
    (folder / "ini").write_text(
        f"[databases]\n* = host={server.host} port={server.port}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"pool_mode = transaction\nauth_type = scram-sha-256\nauth_file = {folder}/users\n"
    )
    account.own(folder)
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [program, folder / "ini"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=ENVIRONMENT,
            **account.switch,
        )


def _listens(server: PostgresServer, port: int, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            psycopg.connect(server.url("postgres").replace(f":{server.port}/", f":{port}/")).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return True
    return False


class Running:
    """A running command, whose stderr is read line by line."""

    def __init__(self, project: Project, *argv: str | Path, env: dict[str, str] | None = None) -> None:
        self.argv = [str(word) for word in argv]
        self.lines: list[str] = []
        self.process = project.start(*argv, env=env)

    def wait_for(self, words: str) -> str:
        """Wait for a line that contains ``words``; return the line."""
        assert self.process.stderr
        for line in self.process.stderr:
            self.lines.append(line)
            if words in line:
                return line
        raise AssertionError(f"no line contains {words!r}: {''.join(self.lines)}")

    def ends(self) -> Done:
        out, rest = self.process.communicate(timeout=SECONDS)
        return Done(self.argv, self.process.returncode, out, "".join(self.lines) + rest)


@contextmanager
def running(project: Project, *argv: str | Path, env: dict[str, str] | None = None) -> Iterator[Running]:
    started = Running(project, *argv, env=env)
    with started.process:
        try:
            yield started
        finally:
            started.process.kill()
