"""PostgreSQL servers of several major versions, each started on first use."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from demo.account import private_folder
from demo.installed import installed
from demo.server import PostgresServer

from igny8_backup.databases.postgresql.connections.driver import connect
from igny8_backup.databases.session import Session
from tests.services import unavailable

MAJORS = (15, 16, 18)
NEWEST = 18


class PostgresServers:
    """The servers by major version. ``close`` stops them and removes their files."""

    def __init__(self) -> None:
        self._servers: dict[int, PostgresServer] = {}
        self._stack = ExitStack()

    def get(self, major: int) -> PostgresServer:
        """Return the server of a major version; skip the test if it is not installed."""
        if major not in self._servers:
            bin_dir = installed(major)
            if bin_dir is None:
                unavailable(f"PostgreSQL {major} is not installed.")
            base = private_folder(f"igny8-pg{major}-")
            self._stack.callback(shutil.rmtree, base)
            self._servers[major] = self._stack.enter_context(PostgresServer(bin_dir, base, durable=False))
        return self._servers[major]

    def close(self) -> None:
        self._stack.close()


@contextmanager
def open_session(
    server: PostgresServer, database: str = "postgres", *, role: str = "", superuser: bool = False
) -> Iterator[Session]:
    """Open a session of the package with ``server``, as the application's role unless another is named."""
    parameters = {
        "host": server.host,
        "port": server.port,
        "dbname": database,
        "user": "postgres" if superuser else role or server.role,
        "password": server.superuser_password if superuser else server.password,
    }
    with closing(connect(parameters)) as session:
        yield session
