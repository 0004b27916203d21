"""One PostgreSQL database, its engine, and what the tests do with both."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
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
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.manifest import DatabasePart

STAMP = "20261122T021500Z"
SCHEMA = """
    CREATE TABLE item (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL);
    INSERT INTO item (name) SELECT 'item ' || n FROM generate_series(1, 200) n;
    CREATE TABLE part (id bigint PRIMARY KEY, item_id bigint NOT NULL REFERENCES item);
    INSERT INTO part SELECT n, n FROM generate_series(1, 100) n;
    CREATE INDEX ON part (item_id);"""


@contextmanager
def configured(alias: str, settings: dict[str, Any]) -> Iterator[None]:
    """Django has the database ``alias`` while the context lasts."""
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
    """``engine`` over the database ``name`` of ``server``, reached as ``role``."""

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
        """Django's settings for the database."""
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
        """An engine over changed settings. It has read them when this returns."""
        with configured(self.alias, self.settings(**changed)):
            return PostgresqlEngine(self.alias, bin_dir=self.bin_dir, scratch=self.scratch)

    @property
    def engine(self) -> PostgresqlEngine:
        return self.engine_with()

    def create(self, schema: str = SCHEMA) -> None:
        self.server.create_database(self.name)
        self.sql(schema)

    def make_role(self, name: str, options: str = "") -> str:
        """A role that ends with the stage, with the server's password for all."""
        name = f"{self.prefix}_{name}"
        self.admin(
            sql.SQL("CREATE ROLE {} PASSWORD {} " + options).format(
                sql.Identifier(name), sql.Literal(self.server.password)
            )
        )
        self.roles.append(name)
        return name

    def sql(self, query: str, *parameters: object, database: str = "", superuser: bool = False) -> list[Any]:
        """Rows of the last statement, if it has any."""
        with self.server.connect(database or self.name, superuser=superuser) as session:
            cursor = session.execute(query.encode(), parameters or None)
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []

    def admin(self, query: str | Composed, *parameters: object) -> list[Any]:
        """As the superuser, in the maintenance database."""
        with self.server.connect(superuser=True) as session:
            cursor = session.execute(query.encode() if isinstance(query, str) else query, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def names(self) -> list[str]:
        """The databases of the stage: its own and those that a restore made beside it."""
        asides = [derived_name(self.name, word, STAMP) for word in (STAGING, PREVIOUS)]
        query = "SELECT datname FROM pg_database WHERE starts_with(datname, %s) OR datname = ANY (%s)"
        return sorted(name for (name,) in self.admin(query, self.prefix, asides))

    def aside(self, word: str) -> str:
        return self.engine.derived_name(word, STAMP)

    def part(self, **changed: Any) -> DatabasePart:
        """What a manifest would say of a dump made here and now."""
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

    def make_side(self, *, jobs: int = 2, details: DatabaseDetails | None = None) -> DatabaseDetails:
        """Dumps the database and restores it beside itself, up to the swap."""
        engine = self.engine
        details = details or engine.describe(())
        data = b"".join(engine.dump(details))
        engine.create_staging(self.aside("side"), details)
        engine.load(
            self.aside("side"),
            (block for block in [data]),
            raw_bytes=len(data),
            scratch=self.scratch,
            jobs=jobs,
        )
        engine.copy_settings(self.aside("side"), details)
        return details

    def plain_dump(self, *options: str, name: str = "") -> bytes:
        """What ``pg_dump`` writes as SQL, all of it the same for the same database."""
        return plain_dump(self.server, name or self.name, *options)

    def remove(self) -> None:
        for name in self.names():
            self.server.drop_database(name)
        for role in self.roles:
            self.admin(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def plain_dump(server: PostgresServer, name: str, *options: str) -> bytes:
    """``pg_dump`` in SQL by the server's own client, without the key that differs each time."""
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
    """``data`` as a stream."""
    yield from (data[start : start + 65536] for start in range(0, len(data), 65536))
