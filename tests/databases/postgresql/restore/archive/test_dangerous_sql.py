"""SQL in an archive that reaches beyond the restored database is recognized, whatever its spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igny8_backup.databases.postgresql.restore.archive.dangerous_sql import find_dangers

PROGRAM, SYSTEM, LANGUAGE = "COPY ... PROGRAM", "ALTER SYSTEM", "an untrusted language"
DANGEROUS = [
    (b"COPY public.t (a) FROM PROGRAM 'id'", PROGRAM),
    (b"copy (select 1)\nto\tprogram 'id'", PROGRAM),
    (b"COPY t FROM/* */PROGRAM 'id'", PROGRAM),
    (b"COPY t FROM -- stdin;\n PROGRAM 'id'", PROGRAM),
    (b"COPY t FROM/* /* */ */PROGRAM $$id$$", PROGRAM),
    (b"ALTER SYSTEM SET archive_command = 'id'", SYSTEM),
    (b"alter\n/* */ system reset all", SYSTEM),
    (b"CREATE FUNCTION f() RETURNS int LANGUAGE c AS '/tmp/x', 'f'", LANGUAGE),
    (b"CREATE FUNCTION f() RETURNS int LANGUAGE 'plpython3u' AS ''", LANGUAGE),
    (b"CREATE FUNCTION f() RETURNS int LANGUAGE \"plperlu\" AS ''", LANGUAGE),
    (b"CREATE OR REPLACE PROCEDURAL LANGUAGE plpython3u", LANGUAGE),
    (b"CREATE EXTENSION IF NOT EXISTS plperlu WITH SCHEMA pg_catalog", LANGUAGE),
    (b"DO LANGUAGE plpython3u 'import os'", LANGUAGE),
]
HARMLESS = [
    b"COPY public.program (id, from_program) FROM stdin;",
    b"CREATE VIEW v AS SELECT p.id FROM program p WHERE p.name = 'x' UNION SELECT id FROM program",
    b"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'",
    b"CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    b"CREATE TABLE public.language (c text, system text)",
    b"CREATE EXTENSION IF NOT EXISTS unaccent WITH SCHEMA public",
    b"CREATE EXTENSION IF NOT EXISTS plpgsql",
    b"ALTER TABLE public.system OWNER TO igny8",
    b"COMMENT ON COLUMN t.language IS 'of the menu'",
]


@pytest.mark.parametrize(("statement", "kind"), DANGEROUS, ids=range(len(DANGEROUS)))
def test_find_dangers_names_the_kind_of_dangerous_sql(statement: bytes, kind: str) -> None:
    assert find_dangers(statement) == (kind,)


@pytest.mark.parametrize("statement", HARMLESS, ids=range(len(HARMLESS)))
def test_find_dangers_accepts_what_applications_have(statement: bytes) -> None:
    assert find_dangers(statement) == ()


@given(before=st.binary(max_size=40), after=st.binary(max_size=40), index=st.integers(0, len(DANGEROUS) - 1))
def test_find_dangers_is_not_hidden_by_text_around_it(before: bytes, after: bytes, index: int) -> None:
    statement, kind = DANGEROUS[index]
    assert kind in find_dangers(before + b"\n;" + statement + b" ;\n" + after)
