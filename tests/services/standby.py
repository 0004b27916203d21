"""A standby of a PostgreSQL server."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Self

from demo.account import ENVIRONMENT
from demo.server import SUPERUSER, PostgresServer


class Standby(PostgresServer):
    """A copy of the cluster of ``primary`` that follows it, as a context manager: see ``PostgresServer``."""

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def __init__(self, primary: PostgresServer, base: Path) -> None:
        super().__init__(primary.bin_dir, base, role=primary.role, durable=False)
        self.primary = primary
        self.password, self.superuser_password = primary.password, primary.superuser_password

    def _initdb(self) -> None:
        subprocess.run(
            [
                self.bin_dir / "pg_basebackup",
                *("-D", self.data, "--write-recovery-conf", "--checkpoint=fast", "--no-sync"),
                *("-h", self.primary.host, "-p", str(self.primary.port), "-U", SUPERUSER),
            ],
            check=True,
            capture_output=True,
            cwd=self.base,
            env={**ENVIRONMENT, **os.environ, "PGPASSWORD": self.superuser_password},
            **self._account.switch,
        )

    def _create_role(self) -> None:
        """Do nothing: the role is that of the primary."""
