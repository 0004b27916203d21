"""Restore a schema with every kind of object; ``pg_dump`` shows the same before and after.

Left out are, by list, subscriptions and event triggers: they would act, on production or in the restore.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo.server import PostgresServer

from tests.databases.postgresql.test_round_trip import assert_same
from tests.databases.stage import plain_dump
from tests.management.commands import run_many
from tests.services.project import Project

ZOO = Path(__file__).with_name("zoo.sql").read_text()
NEWER = {
    "pg_collation with ICU": (
        "SELECT count(*) > 9 FROM pg_collation WHERE collprovider = 'i'",
        """CREATE COLLATION zoo.fold (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
           CREATE TABLE zoo.folded (name text COLLATE zoo.fold UNIQUE);
           INSERT INTO zoo.folded VALUES ('Ä'), ('b')""",
    ),
    "vector": (
        "SELECT count(*) > 0 FROM pg_available_extensions WHERE name = 'vector'",
        """CREATE EXTENSION vector SCHEMA public;
           CREATE TABLE zoo.embedding (id int PRIMARY KEY, at public.vector(3));
           INSERT INTO zoo.embedding SELECT n, ARRAY[n, n / 2.0, -n]::float4[] FROM generate_series(1, 100) n;
           CREATE INDEX ON zoo.embedding USING hnsw (at public.vector_l2_ops)""",
    ),
    "PostgreSQL 18": (
        "SELECT current_setting('server_version_num')::int >= 180000",
        """CREATE TABLE zoo.booked (id int4range, at daterange, n int,
               twice int GENERATED ALWAYS AS (n * 2) VIRTUAL,
               CONSTRAINT one_at_a_time PRIMARY KEY (id, at WITHOUT OVERLAPS),
               CONSTRAINT hoped CHECK (n > 0) NOT ENFORCED);
           ALTER TABLE zoo.booked ADD CONSTRAINT filled NOT NULL n NOT VALID;
           INSERT INTO zoo.booked VALUES ('[1,2)', '[2026-01-01,2026-02-01)', 5)""",
    ),
    "an extension with tables of settings": (
        "SELECT count(*) > 0 FROM pg_available_extensions WHERE name = 'igny8_zoo'",
        """CREATE EXTENSION igny8_zoo SCHEMA zoo;
           INSERT INTO zoo.zoo_settings VALUES ('ours', 'kept'); SELECT nextval('zoo.zoo_counter')""",
    ),
}
LEFT_OUT = re.compile(rb"(EVENT TRIGGER )?no_changes")
END = b"--\n-- PostgreSQL database dump complete\n--"
EXTENSION = """
CREATE TABLE zoo_settings (name text PRIMARY KEY, value text, own bool DEFAULT false);
INSERT INTO zoo_settings VALUES ('theirs', 'comes with the extension', true);
CREATE SEQUENCE zoo_counter;
SELECT pg_catalog.pg_extension_config_dump('zoo_settings', 'WHERE NOT own');
SELECT pg_catalog.pg_extension_config_dump('zoo_counter', '');
"""


@pytest.fixture
def extension(pg: PostgresServer) -> Iterator[bool]:
    """Install a test extension on the server, if its folder is writable."""
    with pg.connect(superuser=True) as session:
        (folder,) = session.execute("SELECT setting FROM pg_config WHERE name = 'SHAREDIR'").fetchone() or (
            "",
        )
    control, script = (Path(folder, "extension", f"igny8_zoo{end}") for end in (".control", "--1.0.sql"))
    try:
        control.write_text("default_version = '1.0'\nrelocatable = true\nsuperuser = false\n")
        script.write_text(EXTENSION)
    except OSError:
        yield False
        return
    yield True
    control.unlink()
    script.unlink()


@pytest.fixture
def zoo(project: Project, extension: bool) -> Iterator[Project]:
    """The project with all kinds of objects, used by a superuser as in Docker images."""
    server = project.server
    roles = {name: f"{project.database}_{name}" for name in ("role", "reader")}
    project.environment["DATABASE_URL"] = project.environment["DATABASE_URL"].replace(
        f"{server.role}:{server.password}@", f"postgres:{server.superuser_password}@"
    )
    with server.connect(superuser=True) as session:
        for role in roles.values():
            session.execute(f"CREATE ROLE {role}".encode())
    with server.connect(project.database, superuser=True) as session:
        before, last = ZOO.split("-- Last, because")
        for statement in fill(before, project, roles).split(b";\n"):
            session.execute(statement)
        for name, (question, statements) in NEWER.items():
            if session.execute(question.encode()).fetchone() == (True,):
                session.execute(statements.encode())
            else:
                print(f"PostgreSQL {server.major} has no {name}.")
        session.execute(fill(f"--{last}", project, roles))
    yield project
    for name in project.databases():
        empty(project, name)
        server.drop_database(name)
    with server.connect(superuser=True) as session:
        for role in roles.values():
            session.execute(f"DROP ROLE {role}".encode())


def fill(text: str, project: Project, roles: dict[str, str]) -> bytes:
    for name, value in {**roles, "database": project.database}.items():
        text = text.replace(f"{{{name}}}", value)
    return text.replace("{{", "{").replace("}}", "}").encode()


def empty(project: Project, database: str) -> None:
    """Remove what prevents a database from being dropped."""
    with project.server.connect(database, superuser=True) as session:
        session.execute("DROP EVENT TRIGGER IF EXISTS no_changes")
        session.execute("DROP SUBSCRIPTION IF EXISTS taken")


def dumps(project: Project) -> tuple[bytes, bytes]:
    """The definitions to compare, without the kinds of objects that a restore leaves out."""
    name = project.database
    found = (
        plain_dump(project.server, name, "--no-subscriptions"),
        plain_dump(project.server, name, "--no-subscriptions", "--create", "--schema-only"),
    )
    kept = [
        [
            part.strip()
            for part in text.rstrip().removesuffix(END).split(b"\n--\n-- Name: ")
            if not LEFT_OUT.match(part)
        ]
        for text in found
    ]
    assert all(len(parts) > 200 for parts in kept)
    return b"\n--\n-- Name: ".join(kept[0]), b"\n--\n-- Name: ".join(kept[1])


@pytest.mark.postgres(15, 16, 18)
def test_restore_every_kind_of_database_object_comes_back(zoo: Project) -> None:
    zoo.settings('IGNY8_BACKUP["JOBS"] = 3')
    before = dumps(zoo)
    assert b"\xe6\xb3\xa8\xe6\x96\x87" in before[0] and (zoo.server.major == 15 or b"hnsw" in before[0])
    (made,) = run_many(zoo, ["backup_db"])
    made.ended(0)
    empty(zoo, zoo.database)
    zoo.server.drop_database(zoo.database)
    (restored,) = run_many(zoo, ["restore_all", "--only", "db", "--noinput", "--identity", zoo.identity])
    restored.ended(0)
    assert_same(dumps(zoo), before)
    assert zoo.sql("SELECT count(*) FROM pg_subscription") == [(0,)]
    assert zoo.sql("SELECT count(*) FROM pg_event_trigger") == [(0,)]
