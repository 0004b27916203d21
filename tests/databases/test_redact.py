"""Values of rows are removed from error messages, of a real server and of servers in other languages."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg
import pytest
from demo.server import PostgresServer
from hypothesis import given
from hypothesis import strategies as st

from igny8_backup.databases.postgresql.connections.connection import sentence
from igny8_backup.databases.redact import HIDDEN, without_values
from igny8_backup.databases.session import DriverError, Session, from_driver
from igny8_backup.streams.stderr_tail import CUT
from tests.services.postgres import open_session

SECRET = "SENTINEL-5e"
FAILURES = [
    (f"INSERT INTO people VALUES ('{SECRET}', 1)", ["people_pkey", "Key (email)=(********) already exists"]),
    (f"INSERT INTO people VALUES ('{SECRET}2', -1)", ['"people_age_check"', '"people"']),
    (f"SELECT '{SECRET}'::int", ["invalid input syntax for type integer"]),
    (f"SELECT '{{\"a\": {SECRET}}}'::json", ["invalid input syntax for type json"]),
    (f"INSERT INTO pets VALUES ('{SECRET}3')", ["pets_owner_fkey", 'is not present in table "people"']),
    ("CREATE UNIQUE INDEX one_each ON twice (lower(name))", ["one_each", "Key (lower(name))=(********)"]),
    (f"SELECT checked('{SECRET}')", ["checked", "line 1 at"]),
    ("SELECT 1 FROM nowhere", ['relation "nowhere" does not exist']),
    ("DROP TABLE people", ["cannot drop table people"]),
]
COPY = "COPY people FROM STDIN"
ROWS = [
    (f"{SECRET}\t1\n", ["people_pkey", "CONTEXT: COPY people, line 1"]),
    (f"x\t{SECRET}\n", ["type integer", "CONTEXT: COPY people, line 1, column age"]),
    (f"{SECRET}\n", ["missing data for column", "CONTEXT: COPY people, line 1"]),
]


@pytest.fixture(scope="module")
def session(postgres_18: PostgresServer) -> Iterator[Session]:
    postgres_18.create_database("hiding")
    with open_session(postgres_18, "hiding") as session:
        for statement in (
            "CREATE TABLE people (email text PRIMARY KEY, age int CHECK (age > 0))",
            f"INSERT INTO people VALUES ('{SECRET}', 1)",
            "CREATE TABLE pets (owner text REFERENCES people)",
            "CREATE TABLE twice (name text)",
            f"INSERT INTO twice VALUES ('{SECRET}'), ('{SECRET}')",
            """CREATE FUNCTION checked(name text) RETURNS int LANGUAGE plpgsql AS
               $$ BEGIN EXECUTE format('SELECT %L::int', name); RETURN 1; END $$""",
        ):
            session.execute(statement)
        yield session
    postgres_18.drop_database("hiding")


@pytest.mark.parametrize(("statement", "expected"), FAILURES)
def test_sentence_of_failed_statement_hides_values(
    session: Session, statement: str, expected: list[str]
) -> None:
    with pytest.raises(DriverError) as caught:
        session.execute(statement)
    message = sentence(caught.value)
    assert SECRET not in message and all(words in message for words in expected), message


@pytest.mark.parametrize(("rows", "expected"), ROWS)
def test_sentence_of_failed_copy_hides_values(
    session: Session, postgres_18: PostgresServer, rows: str, expected: list[str]
) -> None:
    with (
        postgres_18.connect(session.dbname) as connection,
        pytest.raises(psycopg.Error) as caught,
        connection.cursor().copy(COPY.encode()) as copy,
    ):
        copy.write(rows)
    error = from_driver(caught.value)
    assert error is not None
    message = sentence(error)
    assert SECRET not in message and all(words in message for words in expected), message


GERMAN = """FEHLER: x
DETAIL:  Schlüssel »(email)=(a@b.c)« existiert bereits.
ZUSAMMENHANG:  COPY t, Zeile 3: »a«"""
PROGRAM = """pg_restore: error: COPY failed for table "t": ERROR:  out of range: "1
2"
CONTEXT:  COPY t, line 1
pg_restore: warning: errors ignored on restore: 1"""


STATEMENT = """ERROR:  column "ag" does not exist
LINE 1: UPDATE people SET ag = 3 WHERE email = 'a@b.c'
                          ^
HINT:  Perhaps you meant to reference the column "people.age"."""
OTHER_STATEMENT = STATEMENT.replace("ERROR", "FEHLER").replace("LINE", "ZEILE").replace("HINT", "HINWEIS")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (STATEMENT, 'ERROR:  column "ag" does not exist\nHINT' + STATEMENT.partition("HINT")[2]),
        (OTHER_STATEMENT, f"FEHLER:  {HIDDEN}\nHINWEIS:  {HIDDEN}"),
        ("FEHLER: x\n第1行SELECT 'a'\n       ^\n", "FEHLER: x\n"),
        ('value "a"b" is out of range', f'value "{HIDDEN}" is out of range'),
        (GERMAN, GERMAN.replace("a@b.c", HIDDEN).replace(": »a«", "")),
        ("für Typ integer: »abc«", f"für Typ integer: {HIDDEN}"),
        ("x\nDÉTAIL :  La ligne contient (a, b).", f"x\nDÉTAIL:  {HIDDEN}"),
        (PROGRAM, PROGRAM.replace('"1\n2"', HIDDEN)),
        ('server at "::1", port 5432 failed: FATAL:  role "x" does not exist', None),
        ('relation "x" already exists\nHINT:  Drop it.\nCommand was: CREATE TABLE x ();', None),
    ],
)
def test_without_values_keeps_names_and_hides_values(message: str, expected: str | None) -> None:
    assert without_values(message) == (message if expected is None else expected)


def test_without_values_of_truncated_message_leaves_no_part_of_a_value() -> None:
    """The cut may fall in a value, in the word DETAIL or between two messages."""
    first = 'pg_restore: error: COPY failed for table "t": ERROR:  duplicate key value violates "t_key"\n'
    detail = f"DETAIL:  Key (a)=({SECRET} ({SECRET}) {SECRET}) already exists.\n"
    number = f'ERROR:  value "{SECRET}" is out of range for type integer: "{SECRET}"\n'
    last = "pg_restore: warning: errors ignored on restore: 2\n"
    text = first + detail + number + detail + last
    for at in range(len(first), len(text) - len(last)):
        for ends in (first + CUT + text[at:], text[:at] + CUT + "x\n" + last):
            left = without_values(ends)
            assert not re.search("SENT|NEL|-5e", left), left
            assert left.startswith(first) and left.endswith(last), left


@given(st.text(alphabet=st.characters(blacklist_categories=["Cs", "Zl", "Zp", "Cc"])))
def test_without_values_hides_any_value(value: str) -> None:
    message = f'x\nDETAIL:  Key (a)=(<{value}>) already exists.\nCONTEXT:  COPY t, line 1: "<{value}>"'
    expected = f"x\nDETAIL:  Key (a)=({HIDDEN}) already exists.\nCONTEXT:  COPY t, line 1"
    assert without_values(message) == expected
