"""A private, temporary PostgreSQL server with passwords."""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from demo.account import ENVIRONMENT, runnable, server_account

SUPERUSER = "postgres"
SOCKET_PATH_LIMIT = 103  # bytes; Linux takes 107, macOS 103
PORT_ATTEMPTS = 5
START_SECONDS = 60
STOP_SECONDS = 60
FAST, IMMEDIATE = signal.SIGINT, signal.SIGQUIT  # the two ways of stopping: PostgreSQL docs, 18.5


class PostgresServer:
    """A cluster and its server, as a context manager.

    ``bin_dir`` holds PostgreSQL's programs, ``base`` is a private, empty folder that becomes the server's own
    (for root: one that the server's account can reach, see ``private_folder``). The server listens on
    127.0.0.1 at a free ``port`` and, where the path is short enough, on a unix socket in ``socket_dir``.
    Both want passwords. ``role`` may log in and create databases and is no superuser.

    Raises ``RuntimeError`` with the tail of the server's log when it does not start.
    """

    def __init__(self, bin_dir: Path, base: Path, *, role: str = "igny8", durable: bool = True) -> None:
        self.base = base
        self.data = base / "data"
        self.log = base / "server.log"
        self.role = role
        self.password = secrets.token_urlsafe(18)
        self.superuser_password = secrets.token_urlsafe(18)
        self.host = "127.0.0.1"
        self.port = 0
        folder = base / "s"
        self.socket_dir = folder if len(os.fsencode(folder / ".s.PGSQL.65535")) <= SOCKET_PATH_LIMIT else None
        self._durable = durable
        self._given_bin_dir = bin_dir
        self._account = server_account()
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<PostgresServer {self.base} port {self.port}>"

    def __enter__(self) -> PostgresServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Create the cluster, start the server and create the role."""
        self._account.own(self.base)
        self.bin_dir = runnable(self._given_bin_dir, self._account, self.base / "install")
        self.major = self._major()
        self._initdb()
        if self.socket_dir:
            self.socket_dir.mkdir(mode=0o700)
            self._account.own(self.socket_dir)
        try:
            self._launch()
            self._create_role()
        except BaseException:
            self.stop(IMMEDIATE)
            raise

    def stop(self, how: signal.Signals = FAST) -> None:
        """Stop the server, if it runs."""
        process, self._process = self._process, None
        if process is None:
            return
        for failure_key in (how, IMMEDIATE, signal.SIGKILL):
            process.send_signal(failure_key)
            try:
                process.wait(STOP_SECONDS)
                return
            except subprocess.TimeoutExpired:
                continue

    def restart(self) -> None:
        """Stop the server and start it again, perhaps on another port."""
        self.stop()
        self._launch()

    def url(self, database: str) -> str:
        """Return the URL of a database for the role of the application, with its password."""
        user, password = quote(self.role, safe=""), quote(self.password, safe="")
        return f"postgresql://{user}:{password}@{self.host}:{self.port}/{quote(database, safe='')}"

    def connect(
        self, database: str = "postgres", *, superuser: bool = False
    ) -> psycopg.Connection[tuple[Any, ...]]:
        """Return a new connection in autocommit mode as the role of the application, or as the superuser."""
        return psycopg.connect(
            host=self.host,
            port=self.port,
            dbname=database,
            user=SUPERUSER if superuser else self.role,
            password=self.superuser_password if superuser else self.password,
            autocommit=True,
        )

    def create_database(self, name: str, *, template: str | None = None) -> None:
        """Create a database that is owned by the role of the application."""
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template:
            statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        with self.connect() as connection:
            connection.execute(statement)

    def drop_database(self, name: str) -> None:
        """Drop a database, if it exists, and terminate its sessions."""
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        with self.connect(superuser=True) as connection:
            connection.execute(statement)

    def _major(self) -> int:
        done = subprocess.run(
            [self.bin_dir / "postgres", "--version"],
            capture_output=True,
            text=True,
            check=True,
            cwd=self.base,
            env=ENVIRONMENT,
            **self._account.switch,
        )
        return int(re.findall(r"\) (\d+)", done.stdout)[0])

    def _initdb(self) -> None:
        # A file, since initdb takes the password no other way: 0600, gone when initdb ends.
        passwords = self.base / "password"
        passwords.touch(mode=0o600)
        passwords.write_text(self.superuser_password)
        self._account.own(self.base)
        try:
            done = subprocess.run(
                [
                    self.bin_dir / "initdb",
                    *("-D", self.data, "-U", SUPERUSER, f"--pwfile={passwords}"),
                    *("--auth=scram-sha-256", "--encoding=UTF8", "--no-sync", *self._locale()),
                ],
                capture_output=True,
                text=True,
                cwd=self.base,
                env=ENVIRONMENT,
                **self._account.switch,
            )
        finally:
            passwords.unlink()
        if done.returncode:
            raise RuntimeError(f"initdb failed: {done.stderr.strip()[-2000:]}")

    def _locale(self) -> list[str]:
        # From 17 on PostgreSQL brings a UTF-8 locale of its own; older ones depend on the machine's.
        if self.major >= 17:
            return ["--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        return ["--no-locale"]

    def _launch(self) -> None:
        for _ in range(PORT_ATTEMPTS):
            # Between our closing the port and the server's opening it, somebody else may take it.
            with socket.socket() as probe:
                probe.bind((self.host, 0))
                self.port = probe.getsockname()[1]
            self._process = self._spawn()
            if self._answers(self._process):
                return
            self.stop(IMMEDIATE)
            if "Address already in use" not in self._last_words():
                break
        raise RuntimeError(f"PostgreSQL did not start: {self._last_words()}")

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [self.bin_dir / "postgres", "-D", self.data, *self._options()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.base,
                env=ENVIRONMENT,
                # Ctrl-C at the terminal is for us; we stop the server when our work has ended.
                start_new_session=True,
                **self._account.switch,
            )

    def _answers(self, process: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            try:
                self.connect(superuser=True).close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return True
        return False

    def _options(self) -> list[str]:
        settings = {
            "listen_addresses": self.host,
            "port": self.port,
            "unix_socket_directories": self.socket_dir or "",
            "shared_buffers": "64MB",
            "max_wal_size": "1GB",
            "timezone": "UTC",
        }
        if not self._durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _create_role(self) -> None:
        with self.connect(superuser=True) as connection:
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}").format(
                    sql.Identifier(self.role), sql.Literal(self.password)
                )
            )

    def _last_words(self) -> str:
        return self.log.read_text(errors="replace").strip()[-2000:]


def stop_forgotten(base: Path) -> None:
    """Stop a server that a killed process left running in this folder."""
    data = base / "data"
    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
        # The number may belong to another process by now: a PostgreSQL server lives in its data folder.
        ours = Path(f"/proc/{pid}/cwd").resolve() == data.resolve()
    except (OSError, ValueError, IndexError):
        return
    if not ours:
        return
    os.kill(pid, IMMEDIATE)
    deadline = time.monotonic() + STOP_SECONDS
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
