"""A PostgreSQL server whose databases are reused by later benchmarks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Self

from demo.installed import installed
from demo.server import PostgresServer, stop_forgotten

from benchmarks import TESTPROJECT, database_data
from benchmarks.measure import run, say
from benchmarks.project import PYTHON, base_environment

SETTINGS = {
    "shared_buffers": "512MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    "autovacuum": "off",
}


class KeptServer(PostgresServer):
    """The test project's server with a cluster that is created once.

    Unless it is ``durable``, the server does not force anything to disk.
    """

    def __init__(self, major: int, work: Path, *, durable: bool = False) -> None:
        bin_dir = installed(major)
        if bin_dir is None:
            raise SystemExit(f"PostgreSQL {major} is not installed: pip install igny8-backup[demo].")
        base = work / f"postgresql-{major}"
        base.mkdir(mode=0o700, exist_ok=True)
        stop_forgotten(base)
        super().__init__(bin_dir, base, role="benchmark", durable=durable)
        self._secrets = base / "passwords.json"
        self._made = self._secrets.is_file()
        if self._made:
            self.password, self.superuser_password = json.loads(self._secrets.read_text())
        else:
            for left in base.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        for passing in (base / "s", base / "install"):
            shutil.rmtree(passing, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def database(self, name: str, scale: str | None) -> str:
        """Create a migrated database with the data of a scale, or empty, if needed; return its URL."""
        ready = self.ready_mark(name)
        if not ready.is_file() or ready.read_text() != str(database_data.VERSION):
            say(f"making the database {name} ...")
            with self.connect() as connection:  # what a restore that was cut short left goes too
                query = "SELECT datname FROM pg_database WHERE starts_with(datname, %s)"
                for (found,) in connection.execute(query, [name]).fetchall():
                    self.drop_database(found)
            self.create_database(name)
            environment = {**base_environment(self.base), "DATABASE_URL": self.url(name)}
            run(
                [*PYTHON, TESTPROJECT / "manage.py", "migrate", "--verbosity=0"],
                env=environment,
                cwd=self.base,
            )
            if scale is not None:
                with self.connect(name) as connection:
                    # dbrestore fails where there is a partitioned table: pg_restore --clean cannot drop it.
                    connection.execute("DROP TABLE igny8_sites_pageview CASCADE")
                    database_data.fill(connection, scale)
            self.database_is_whole(name)
        return self.url(name)

    def database_is_whole(self, name: str) -> None:
        """Record that the database is unchanged since its creation."""
        self.ready_mark(name).write_text(str(database_data.VERSION))

    def ready_mark(self, name: str) -> Path:
        """Return the file that exists while the database is unchanged."""
        return self.base / f"{name}.ready"

    def _initdb(self) -> None:
        if not self._made:
            super()._initdb()

    def _create_role(self) -> None:
        if not self._made:
            super()._create_role()
            self._secrets.touch(mode=0o600)
            self._secrets.write_text(json.dumps([self.password, self.superuser_password]))

    def _options(self) -> list[str]:
        return super()._options() + [
            part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")
        ]
