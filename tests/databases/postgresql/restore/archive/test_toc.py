"""The table of contents of an archive, whatever the names of the objects are."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from contextlib import suppress

import pytest
from demo.server import PostgresServer
from hypothesis import given
from hypothesis import strategies as st

from igny8_backup.databases.names import split_table_name, table_name
from igny8_backup.databases.postgresql.restore.archive.toc import is_event_trigger, read_contents, use_list
from igny8_backup.databases.quoting import identifier
from igny8_backup.databases.values import RestoreSelection
from igny8_backup.errors import IntegrityError
from tests.databases.stage import Stage, blocks_of

everywhere = pytest.mark.postgres(15, 16, 18)

SCHEMAS = ["DATA", "ATTACH", "Odd, Schema", "-", "a b"]
NAMES = [
    "item",
    "TABLE DATA",
    "DATA public item",
    "EVENT TRIGGER - noisy",
    "line\nbreak",
    "12; 1259 1 TABLE public item\n;\tdepends on: 1",
    "tab\tand \\ back; slash",
    'quo"te',
    "d'oh $1 %s {} [*] a.b",
    "税 € \u202e\u2028",
    " ",
    "COMMENT - EVENT TRIGGER x",
    "ADD CONSTRAINT x PRIMARY KEY",
]


def odd(stage: Stage) -> None:
    """Create a table of each name in each schema, with rows, a key, an index, a comment and a trigger."""
    stage.create("CREATE FUNCTION public.fired() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
    for schema in SCHEMAS:
        stage.sql(f"CREATE SCHEMA {identifier(schema)}")
    for number, name in enumerate(NAMES):
        full = identifier(SCHEMAS[number % len(SCHEMAS)], name)
        stage.sql(
            f"CREATE TABLE {full} (id int CONSTRAINT {identifier(name + ' UNIQUE')} PRIMARY KEY,"
            f" {identifier(name)} int);"
            f"INSERT INTO {full} VALUES ({number}, 1);"
            f"CREATE INDEX {identifier(name + ' index')} ON {full} ({identifier(name)});"
            f"COMMENT ON TABLE {full} IS 'EVENT TRIGGER';"
            f"CREATE TRIGGER {identifier(name)} BEFORE UPDATE ON {full} EXECUTE FUNCTION public.fired();"
        )


def dumped(stage: Stage) -> bytes:
    return b"".join(stage.engine.dump(stage.engine.describe(())))


@everywhere
def test_read_contents_with_odd_names_finds_each_object(
    pg: PostgresServer, make_stage: Callable[..., Stage]
) -> None:
    stage = make_stage(pg)
    odd(stage)
    data = dumped(stage)
    contents = read_contents(blocks_of(data))
    names = {(SCHEMAS[number % len(SCHEMAS)], name) for number, name in enumerate(NAMES)}
    for kind in ("TABLE", "TABLE DATA"):
        assert {(entry.schema, entry.name) for entry in contents.entries if entry.kind == kind} == names
    assert {entry.owner for entry in contents.entries if entry.kind == "TABLE"} == {stage.server.role}
    assert not any(map(is_event_trigger, contents.entries))
    assert all(entry.label.isprintable() for entry in contents.entries)
    # pg_restore itself knows the same entries, dependencies and sections.
    pg_restore = stage.server.bin_dir / "pg_restore"
    for option, entries in (
        ("--section=post-data", [entry for entry in contents.entries if entry.post_data]),
        ("--verbose", list(contents.entries)),
    ):
        listing = subprocess.run(
            [pg_restore, "--list", option], input=data, capture_output=True
        ).stdout.decode()
        numbers = re.findall(r"^(\d+); \d+ \d+ ", listing, re.MULTILINE)
        assert [int(number) for number in numbers] == [entry.number for entry in entries]
    needs = [
        set(map(int, text.split()))
        for text in re.findall(r"^;\tdepends on: ([\d ]+)$", listing, re.MULTILINE)
    ]
    assert needs == [entry.needs for entry in contents.entries if entry.needs]
    assert contents.created is not None
    assert f"Archive created at {contents.created:%Y-%m-%d %H:%M:%S}" in listing


@everywhere
@pytest.mark.parametrize("jobs", [1, 2])
def test_restore_with_odd_names_is_identical(
    pg: PostgresServer, make_stage: Callable[..., Stage], jobs: int
) -> None:
    stage = make_stage(pg)
    odd(stage)
    before = stage.plain_dump()
    stage.make_staging(jobs=jobs)
    assert stage.plain_dump(name=stage.staging) == before
    data, details = dumped(stage), stage.engine.describe(())
    stage.engine.restore_in_place(blocks_of(data), details, RestoreSelection())
    assert stage.plain_dump() == before
    for table in details.tables:
        schema, name = split_table_name(table)
        stage.engine.drop(stage.staging)
        stage.engine.create_staging(stage.staging, details)
        stage.engine.load(
            stage.staging,
            blocks_of(data),
            jobs=jobs,
            selection=RestoreSelection(tables=(table_name(schema, name),)),
        )
        assert stage.engine.tables(stage.staging) == (table,)
        assert stage.sql(f"SELECT count(*) FROM {identifier(schema, name)}", database=stage.staging) == [(1,)]


@everywhere
def test_excluded_rows_of_table_with_odd_name_are_left_out(
    pg: PostgresServer, make_stage: Callable[..., Stage]
) -> None:
    stage = make_stage(pg)
    odd(stage)
    for table in stage.engine.describe(()).tables:
        details = stage.engine.describe((identifier(*split_table_name(table)),))
        assert details.excluded_data == (table,)
        entries = read_contents(blocks_of(b"".join(stage.engine.dump(details)))).entries
        kept = {(entry.schema, entry.name) for entry in entries if entry.kind == "TABLE DATA"}
        assert len(kept) == len(NAMES) - 1 and split_table_name(table) not in kept


@pytest.mark.postgres(15, 18)
@pytest.mark.parametrize("encoding", ["LATIN1", "WIN1251", "EUC_JP", "KOI8R"])
def test_read_contents_decodes_names_from_the_encoding_of_the_dump(
    pg: PostgresServer, make_stage: Callable[..., Stage], encoding: str
) -> None:
    stage = make_stage(pg)
    word = {"LATIN1": "tâblë", "EUC_JP": "表"}.get(encoding, "таблица")
    stage.admin(
        f"CREATE DATABASE {stage.name} TEMPLATE template0 ENCODING {encoding} LOCALE 'C' OWNER {pg.role}"
    )
    created = f'CREATE TABLE "{word}" (id int); INSERT INTO "{word}" VALUES (1)'
    with stage.engine.live.open() as session:
        session.execute(created)
    details = stage.engine.describe(())
    assert details.tables == (f'public."{word}"',)
    entries = read_contents(blocks_of(b"".join(stage.engine.dump(details)))).entries
    assert [entry.name for entry in entries if entry.kind == "TABLE"] == [word]


def test_read_contents_of_every_beginning_of_an_archive_raises(stage: Stage) -> None:
    data = dumped(stage)
    size = len(read_contents(one for one in (data[n : n + 1] for n in range(len(data)))).head)
    for length in {*range(0, 200), *range(200, size, 97), size - 1}:
        with pytest.raises(IntegrityError, match="not an archive of pg_dump"):
            read_contents(blocks_of(data[:length]))
    assert use_list(read_contents(blocks_of(data)).entries).count(b";\n") > 5


@pytest.mark.slow
@given(st.binary(max_size=300), st.booleans())
def test_read_contents_of_garbage_raises_integrity_error(garbage: bytes, headed: bool) -> None:
    data = b"PGDMP\x01\x10\x00\x04\x08\x01" * headed + garbage
    with suppress(IntegrityError):
        assert read_contents(block for block in [data]).entries == ()
