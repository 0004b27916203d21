"""What a check has read, also as earlier releases recorded it."""

from __future__ import annotations

from dataclasses import replace

from igny8_backup.formats import records
from igny8_backup.formats.documents.annotations import ALTERED, CONTENT, SCHEMA, STORED, Check
from tests.standing.history import check

KEYS = ("a", "b", "c", "d")


def test_check_without_sound_keys_read_all_objects_if_it_counted_all() -> None:
    made = replace(check(1, 1, sound=None, depth=CONTENT, sample=5), objects=5, read=5)
    assert made.sound_among(KEYS) == set(KEYS)
    assert replace(made, read=4).sound_among(KEYS) == set()


def test_check_of_an_earlier_release_that_read_everything_stored_read_all_but_the_damage() -> None:
    made = replace(check(1, 1, sound=None, damage={"b": ALTERED}), objects=5, read=3)
    assert made.depth == STORED and made.sound_among(KEYS) == {"a", "c", "d"}
    assert replace(made, sample=20).sound_among(KEYS) == set()


def test_check_with_sound_keys_read_only_these() -> None:
    made = check(1, 1, sound=("a", "z"))
    assert made.sound_among(KEYS) == {"a"}
    again = records.from_json(Check, records.to_json(made), name="The check", schema=SCHEMA)
    assert again == made
