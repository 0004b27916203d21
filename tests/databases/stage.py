"""A PostgreSQL database for tests, with its engine."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from demo.server import PostgresServer
from django.db import connections
from psycopg import sql
from psycopg.sql import Composed

from igny8_backup.databases.names import PREVIOUS, STAGING, derived_name
from igny8_backup.databases.postgresql.engine import PostgresqlEngine
from igny8_backup.databases.values import Answers
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.parts.database import DatabasePart

STAMP = "20261122T021500Z"
SCHEMA = """
    CREATE TABLE item (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL);
    INSERT INTO item (name) SELECT 'item ' || n FROM generate_series(1, 200) n;
    CREATE TABLE part (id bigint PRIMARY KEY, item_id bigint NOT NULL REFERENCES item);
    INSERT INTO part SELECT n, n FROM generate_series(1, 100) n;
    CREATE INDEX ON part (item_id);"""


@contextmanager
def configured(alias: str, settings: dict[str, Any]) -> Iterator[None]:
    """Add ``alias`` to Django's databases while the context lasts."""
    before = connections.settings
    connections.settings = connections.configure_settings({**before, alias: settings})
    try:
        yield
    finally:
        for made in connections.all(initialized_only=True):
            if made.alias == alias:
                made.close()
                del connections[alias]
        connections.settings = before


class Stage:
    """A database of ``server``; ``engine`` connects to it as ``role``."""

    def __init__(self, server: PostgresServer, scratch: Path, *, name: str = "", role: str = "") -> None:
        self.server = server
        self.scratch = scratch
        self.prefix = name or f"stage_{uuid.uuid4().hex[:10]}"
        self.name = self.prefix
        self.alias = "stage"
        self.role = role or server.role
        self.roles: list[str] = []
        self.bin_dir = server.bin_dir

    def settings(self, **changed: Any) -> dict[str, Any]:
        """Return Django's settings for the database."""
        superuser = self.role == "postgres"
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": self.name,
            "USER": self.role,
            "PASSWORD": self.server.superuser_password if superuser else self.server.password,
            "HOST": self.server.host,
            "PORT": str(self.server.port),
            **changed,
        }

    def engine_with(self, **changed: Any) -> PostgresqlEngine:
        """Return an engine for changed settings, which it has read when this returns."""
        with configured(self.alias, self.settings(**changed)):
            return PostgresqlEngine(self.alias, bin_dir=self.bin_dir, scratch=self.scratch)

    @property
    def engine(self) -> PostgresqlEngine:
        return self.engine_with()

    def create(self, schema: str = SCHEMA) -> None:
        self.server.create_database(self.name)
        self.sql(schema)

    def make_role(self, name: str, options: str = "") -> str:
        """Create a role with the server's password; it is dropped with the stage."""
        name = f"{self.prefix}_{name}"
        self.admin(
            sql.SQL("CREATE ROLE {} PASSWORD {} " + options).format(
                sql.Identifier(name), sql.Literal(self.server.password)
            )
        )
        self.roles.append(name)
        return name

    def sql(self, query: str, *parameters: object, database: str = "", superuser: bool = False) -> list[Any]:
        """Run SQL in the database; return the rows of the last statement."""
        with self.server.connect(database or self.name, superuser=superuser) as session:
            cursor = session.execute(query.encode(), parameters or None)
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []

    def admin(self, query: str | Composed, *parameters: object) -> list[Any]:
        """Run SQL as the superuser in the maintenance database."""
        with self.server.connect(superuser=True) as session:
            cursor = session.execute(query.encode() if isinstance(query, str) else query, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def wait_until_unused(self, database: str = "") -> None:
        """Wait until the server has noticed that all clients of ``database`` (the stage's own) are gone."""
        query = "SELECT FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"
        while self.admin(query, database or self.name):
            time.sleep(0.01)

    def databases(self) -> list[str]:
        """List the databases of the stage: its own, and the staging and previous ones."""
        derived = [derived_name(self.name, word, STAMP) for word in (STAGING, PREVIOUS)]
        query = "SELECT datname FROM pg_database WHERE starts_with(datname, %s) OR datname = ANY (%s)"
        return sorted(name for (name,) in self.admin(query, self.prefix, derived))

    @property
    def staging(self) -> str:
        """The name of the staging database."""
        return self.engine.derived_name(STAGING, STAMP)

    @property
    def previous(self) -> str:
        """The name of the previous database."""
        return self.engine.derived_name(PREVIOUS, STAMP)

    def part(self, **changed: Any) -> DatabasePart:
        """Return the manifest entry of a dump made now."""
        versions = self.engine.versions()
        now = datetime.now(UTC)
        part = DatabasePart(
            alias=self.alias,
            engine="postgresql",
            state="complete",
            started=now,
            finished=now,
            server_version=versions.server,
            dump_version=versions.tool,
        )
        return replace(part, **changed)

    def make_staging(self, *, jobs: int = 2, details: DatabaseDetails | None = None) -> DatabaseDetails:
        """Dump the database and restore it into the staging database."""
        engine = self.engine
        details = details or engine.describe(())
        data = b"".join(engine.dump(details))
        engine.create_staging(self.staging, details)
        engine.load(
            self.staging,
            (block for block in [data]),
            jobs=jobs,
        )
        engine.copy_settings(self.staging, details)
        return details

    def plain_dump(self, *options: str, name: str = "") -> bytes:
        """Return the database as SQL, equal for equal databases."""
        return plain_dump(self.server, name or self.name, *options)

    def remove(self) -> None:
        for name in self.databases():
            self.server.drop_database(name)
        for role in self.roles:
            self.admin(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def plain_dump(server: PostgresServer, name: str, *options: str) -> bytes:
    """Return the output of the server's own ``pg_dump``, without the random key of ``\\restrict``."""
    environment = {
        "PATH": os.environ["PATH"],
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "PGUSER": "postgres",
        "PGPASSWORD": server.superuser_password,
        "PGDATABASE": name,
    }
    done = subprocess.run([server.bin_dir / "pg_dump", *options], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines(keepends=True)
    return b"".join(line for line in lines if not line.startswith((b"\\restrict ", b"\\unrestrict ")))


def blocks_of(data: bytes) -> Any:
    """Yield ``data`` as a stream of blocks."""
    yield from (data[start : start + 65536] for start in range(0, len(data), 65536))


def ask_during_dump(
    engine: PostgresqlEngine, queries: dict[str, str], excluded: tuple[str, ...] = ()
) -> Answers:
    """Begin a dump; return the answers that it reports."""
    found: list[Answers] = []
    with closing(engine.dump(engine.describe(excluded), queries, found.append)) as blocks:
        next(blocks)
    return found[-1]
