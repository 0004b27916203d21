"""Records from JSON: any input gives a record or raises ``IntegrityError``."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igny8_backup.errors import IntegrityError
from igny8_backup.formats import records


@dataclass(frozen=True, kw_only=True)
class Inner:
    name: str
    size: int = 0


@dataclass(frozen=True, kw_only=True)
class Outer:
    schema: int
    when: datetime
    flag: bool
    inner: Inner
    maybe: Inner | None = None
    many: tuple[Inner, ...] = ()
    words: dict[str, str] = field(default_factory=dict)
    until: datetime | None = None


WHEN = datetime(2026, 11, 22, 2, 15, 0, 123456, tzinfo=UTC)
GOOD = Outer(schema=1, when=WHEN, flag=True, inner=Inner(name="a"))
PLAIN: dict[str, Any] = {"schema": 1, "when": "2026-11-22T02:15:00Z", "flag": True, "inner": {"name": "a"}}

texts = st.text(st.characters(exclude_categories=["Cs"]))
moments = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-7))]))
inners = st.builds(Inner, name=texts, size=st.integers(-(2**63), 2**63 - 1))
outers = st.builds(
    Outer,
    schema=st.integers(1, 3),
    when=moments.filter(lambda moment: 1 < moment.year < 9999),
    flag=st.booleans(),
    inner=inners,
    maybe=st.none() | inners,
    many=st.lists(inners, max_size=3).map(tuple),
    words=st.dictionaries(texts, texts, max_size=3),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def read(data: bytes | str | dict[str, Any]) -> Outer:
    if isinstance(data, dict):
        data = json.dumps(data)
    return records.from_json(
        Outer, data if isinstance(data, bytes) else data.encode(), name="The thing", schema=3
    )


@given(outers)
def test_from_json_returns_what_to_json_wrote(record: Outer) -> None:
    data = records.to_json(record)
    assert read(data) == record
    assert records.to_json(read(data)) == data


@given(outers)
def test_from_json_returns_what_to_line_wrote(record: Outer) -> None:
    line = records.to_line(record)
    assert b"\n" not in line and len(line) < len(records.to_json(record))
    assert read(line) == read(records.to_json(record))


def test_to_json_is_sorted_and_ends_with_a_newline() -> None:
    data = records.to_json(Outer(schema=1, when=WHEN, flag=False, inner=Inner(name="ü")))
    assert data.startswith(b'{\n  "flag": false,\n  "inner": {\n    "name": "\xc3\xbc"')
    assert b'"when": "2026-11-22T02:15:00.123456Z"' in data
    assert data.endswith(b"}\n")


def test_from_json_converts_times_to_utc() -> None:
    record = read({**PLAIN, "when": "2026-11-22T04:15:00+02:00"})
    assert record.when == datetime(2026, 11, 22, 2, 15, tzinfo=UTC)
    assert record.when.tzinfo is UTC


@given(anything)
def test_from_json_with_other_values_raises(value: Any) -> None:
    with pytest.raises(IntegrityError, match="^The thing "):
        read(json.dumps(value))


@given(st.sampled_from(sorted(PLAIN | {"many": 0, "words": 0, "maybe": 0})), anything)
def test_from_json_with_wrong_field_names_the_field(name: str, value: Any) -> None:
    try:
        read(json.dumps({**PLAIN, name: value}))
    except IntegrityError as error:
        assert "The thing " in str(error)


@given(st.binary(max_size=60))
def test_from_json_with_any_bytes_raises_integrity_error(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="^The thing is "):
        read(data)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"flag": 1}, "flag is not bool"),
        ({"flag": None}, "flag is not bool"),
        ({"schema": True}, "schema is not int"),
        ({"schema": 1.0}, "schema is not int"),
        ({"schema": "1"}, "schema is not int"),
        ({"schema": 0}, "schema"),
        ({"schema": -1}, "schema"),
        ({"inner": None}, "inner is not an object"),
        ({"inner": []}, "inner is not an object"),
        ({"inner": {}}, "inner.name is missing"),
        ({"inner": {"name": b"a".decode(), "size": 2**63}}, "inner.size"),
        ({"inner": {"name": "a", "size": float("nan")}}, "contains NaN"),
        ({"inner": {"name": "\ud800"}}, "surrogates not allowed"),
        ({"many": {"name": "a"}}, "many is not a list"),
        ({"many": [{"name": "a"}, {"name": 7}]}, r"many\[1\].name is not str"),
        ({"maybe": {"size": 1}}, "maybe.name is missing"),
        ({"words": ["a"]}, "words is not an object"),
        ({"words": {"a": 1}}, "words.a is not str"),
        ({"words": {"\udfff": "a"}}, "surrogates not allowed"),
        ({"when": "2026-11-22T02:15:00"}, "when is not a time with a zone"),
        ({"when": 1790000000}, "when is not a time with a zone"),
        ({"when": "yesterday"}, "The thing is malformed"),
        ({"when": "0001-01-01T00:00:00+14:00"}, "The thing is malformed"),
        ({"when": "9999-12-31T23:59:59-14:00"}, "The thing is malformed"),
        ({"until": "2026"}, "until|malformed"),
    ],
)
def test_from_json_error_names_the_nested_field(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(IntegrityError, match=complaint) as caught:
        read({**PLAIN, **change})
    assert str(caught.value).startswith("The thing is malformed: ")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"schema": ' + b"9" * 5_000 + b"}",
        b'{"schema": 1, "schema": 2',
        b"\x00" * 16,
        b"<html>",
    ],
)
def test_from_json_without_json_raises(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="The thing is not JSON"):
        read(data)


def test_from_json_missing_field_raises_and_unknown_field_is_ignored() -> None:
    with pytest.raises(IntegrityError, match="flag is missing"):
        read({key: value for key, value in PLAIN.items() if key != "flag"})
    assert read({**PLAIN, "new": [1], "inner": {"name": "a", "newer": None}}).inner == Inner(name="a")


def test_from_json_newer_schema_names_the_upgrade() -> None:
    with pytest.raises(IntegrityError) as caught:
        read({"schema": 4, "all": "else is different"})
    assert "has schema 4" in str(caught.value)
    assert "reads up to 3" in str(caught.value)
    assert "pip install --upgrade igny8-backup" in str(caught.value)


def test_from_json_old_schema_is_upgraded_step_by_step() -> None:
    old = {**PLAIN, "schema": 1, "nested": {"name": "old"}}
    del old["inner"]
    upgrades: records.Upgrades = {
        1: lambda found: {**found, "inside": found["nested"]},
        2: lambda found: {**found, "inner": found["inside"]},
    }
    read = records.from_json(
        Outer, json.dumps(old).encode(), name="The thing", schema=3, upgrades=upgrades, hint=""
    )
    assert (read.schema, read.inner) == (3, Inner(name="old"))
    with pytest.raises(IntegrityError, match="The thing is malformed"):
        records.from_json(Outer, b'{"schema": 1}', name="The thing", schema=3, upgrades=upgrades)


def test_to_plain_returns_json_values() -> None:
    plain = records.to_plain({"record": GOOD, "list": (1, None), "when": [WHEN]})
    assert json.loads(json.dumps(plain))["record"]["inner"] == {"name": "a", "size": 0}
    assert plain["when"] == ["2026-11-22T02:15:00.123456Z"]


@pytest.mark.parametrize("value", [b"{},", b"[],", b"1,", b'"",'])
def test_from_json_too_many_values_are_refused_before_parsing(value: bytes) -> None:
    data = b'{"schema": 1, "many": [' + value * (records.VALUES_LIMIT + 1) + b"{}]}"
    with pytest.raises(IntegrityError, match="more than 1000000 JSON values"):
        read(data)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"schema": 1, "schema": 1}', "has the same name twice"),
        (b'{"schema": 1, "inner": {"name": "a", "name": "b"}}', "has the same name twice"),
        (b'{"schema": 1, "unknown": NaN}', "contains NaN"),
        (b'{"schema": 1, "unknown": -Infinity}', "contains -Infinity"),
    ],
)
def test_from_json_what_two_parsers_may_read_differently_is_refused(text: bytes, words: str) -> None:
    with pytest.raises(IntegrityError, match=words):
        read(text)
