"""A database that comes from another server, or whose migrations went back, is suspect until accepted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from igny8_backup.formats.comparison import Expected
from igny8_backup.formats.documents.annotations import Annotations
from igny8_backup.formats.manifest import Manifest
from igny8_backup.formats.source import Source, source_of
from igny8_backup.standing import MIGRATIONS, SERVER, SUSPECT, Reason
from tests.standing.history import DATABASE, accepted, backup, database, id_of, standings, summary

OLD, NEW = ("0001",), ("0001", "0002")


def source(server: str = "A", names: tuple[str, ...] | None = NEW, recipients: str = "age1") -> Source:
    return source_of(server, None if names is None else {"content": names}, {}, [recipients])


def night(number: int, found: Source | None, expected: Expected | None = None, size: int = 1000) -> Manifest:
    return backup(number, replace(database(number, expected=expected, size=size), source=found))


def reasons(*manifests: Manifest) -> list[tuple[str, ...]]:
    found = standings(list(manifests)).of_series(DATABASE)
    return [tuple(reason.cause for reason in item.unfit) for item in reversed(found)]


def test_judge_copy_of_another_server_is_suspect_until_accepted() -> None:
    nights = [night(1, source()), night(2, source("B")), night(3, source("B"))]
    assert reasons(*nights) == [(), (SERVER,), (SERVER,)]
    (reason,) = standings(nights).of_series(DATABASE)[0].unfit
    assert reason == Reason(
        kind=SUSPECT,
        cause=SERVER,
        text="it comes from another database server (system identifier B) than backup"
        f" {id_of(1)} (system identifier A)",
    )
    notes = {2: Annotations(acceptance=accepted(2, DATABASE))}
    assert summary(standings(nights, notes), DATABASE) == ". . ."
    back = [*nights, night(4, source("A"))]
    assert summary(standings(back, notes), DATABASE) == ". . . S", "the old server is the other one now"


def test_judge_two_servers_that_take_turns_show_the_first_one_as_good() -> None:
    nights = [night(number, source("AB"[number % 2])) for number in range(5)]
    assert reasons(*nights) == [(), (SERVER,), (), (SERVER,), ()]


def test_judge_migrations_that_went_back_are_suspect() -> None:
    assert reasons(night(1, source()), night(2, source(names=OLD))) == [(), (MIGRATIONS,)]
    (reason,) = standings([night(1, source()), night(2, source(names=OLD))]).of_series(DATABASE)[0].unfit
    assert reason.text == f"1 migration that backup {id_of(1)} had applied is not applied any more"
    assert reasons(night(1, source(names=OLD)), night(2, source())) == [(), ()], "forward"
    branch = source(names=("0001", "0002_other"))
    assert reasons(night(1, source()), night(2, branch)) == [(), (MIGRATIONS,)], "as many, but others"


def test_judge_unknown_source_is_no_reason_and_hides_none() -> None:
    unknown = [night(2, None), night(3, source("")), night(4, source(names=None)), night(5, Source())]
    assert reasons(night(1, source()), *unknown) == [()] * 5
    assert reasons(night(1, source()), *unknown, night(6, source("B", OLD)))[-1] == (SERVER, MIGRATIONS)


def test_judge_other_recipients_compare_no_migrations() -> None:
    assert reasons(night(1, source()), night(2, source(names=OLD, recipients="age2"))) == [(), ()]


@pytest.mark.parametrize("by", ["restore", "undo", "move"])
def test_judge_announced_change_of_the_source_is_not_suspect(by: str) -> None:
    moved = night(2, source("B", OLD), Expected(by=by))
    assert reasons(night(1, source()), moved, night(3, source("B", OLD))) == [(), (), ()]


def test_judge_announced_move_explains_no_smaller_size() -> None:
    small = night(2, source("B"), Expected(by="move"), size=10)
    assert reasons(night(1, source()), small) == [(), ("size",)]
