"""Which copies can be relied on: damage belongs to objects; a copy that shrank waits until it is accepted."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igny8_backup.formats import keys
from igny8_backup.formats.comparison import Expected
from igny8_backup.formats.documents.annotations import (
    ALTERED,
    CONTENT,
    DRILLED,
    MISSING,
    STORED,
    UNREADABLE,
    Annotations,
    ObjectDamage,
)
from igny8_backup.formats.manifest import FAILED, Manifest
from igny8_backup.standing import FUTURE, SUSPECT, judge
from tests.standing.history import (
    DATABASE,
    LOGS,
    NOW,
    SITES,
    START,
    accepted,
    backup,
    check,
    database,
    half_but_logs,
    id_of,
    pack,
    standings,
    summary,
    tree,
)

SHARED = pack(1)
THREE = [backup(night, database(night), tree(night, packs=(SHARED,))) for night in (1, 2, 3)]


def test_judge_damaged_pack_makes_every_backup_that_names_it_unfit_in_that_tree_only() -> None:
    other = backup(4, database(4), tree(4, packs=(pack(4),)))
    found = standings([*THREE, other], {2: Annotations(checks=(check(2, 5, damage={SHARED: ALTERED}),))})
    assert summary(found, SITES) == "D D D ."
    assert summary(found, DATABASE) == ". . . ."
    assert found.damaged_keys == {SHARED}
    newest = found.newest_fit(SITES)
    assert newest and newest.backup_id == other.id


@pytest.mark.parametrize("key", [keys.manifest_key(id_of(2)), keys.details_key(id_of(2), ".zst")])
def test_judge_damaged_manifest_or_details_make_every_part_unfit(key: str) -> None:
    found = standings(THREE, {2: Annotations(checks=(check(2, 5, damage={key: ALTERED}),))})
    assert (summary(found, SITES), summary(found, DATABASE)) == (". D .", ". D .")


def test_judge_damage_is_cleared_by_a_later_check_that_read_the_object() -> None:
    bad = check(1, 5, damage={SHARED: MISSING})
    later = check(3, 6, sound=(SHARED,), sample=5)
    assert summary(standings(THREE, {1: Annotations(checks=(bad,))}), SITES) == "D D D"
    notes = {1: Annotations(checks=(bad,)), 3: Annotations(checks=(later,))}
    assert summary(standings(THREE, notes), SITES) == ". . ."
    earlier = {1: notes[1], 3: Annotations(checks=(replace(later, started=bad.started),))}
    assert summary(standings(THREE, earlier), SITES) == "D D D", "not later"
    unread = {1: notes[1], 3: Annotations(checks=(replace(later, sound=()),))}
    assert summary(standings(THREE, unread), SITES) == "D D D", "its sample left the object out"


def test_judge_check_dated_in_the_future_clears_nothing() -> None:
    bad = check(1, 5, damage={SHARED: ALTERED})
    future = replace(check(1, 6, sound=(SHARED,)), started=NOW + timedelta(days=1), depth=CONTENT)
    assert summary(standings(THREE, {1: Annotations(checks=(bad, future))}), SITES) == "D D D"


@pytest.mark.parametrize(
    ("found_by", "cleared_by", "cleared"),
    [
        (CONTENT, STORED, False),
        (CONTENT, CONTENT, True),
        (CONTENT, DRILLED, True),
        (DRILLED, CONTENT, False),
        (DRILLED, DRILLED, True),
    ],
)
def test_judge_unreadable_contents_are_cleared_by_a_check_as_thorough(
    found_by: str, cleared_by: str, cleared: bool
) -> None:
    key = THREE[0].databases[0].dump.key
    checks = (
        check(1, 5, damage={key: UNREADABLE}, depth=found_by),
        check(1, 6, sound=(key,), depth=cleared_by),
    )
    assert summary(standings(THREE, {1: Annotations(checks=checks)}), DATABASE) == (
        ". . ." if cleared else "D . ."
    )


def test_judge_pack_unreadable_by_one_index_is_cleared_only_for_the_backup_that_was_read() -> None:
    notes = {
        1: Annotations(checks=(check(1, 5, damage={SHARED: UNREADABLE}, depth=CONTENT),)),
        3: Annotations(checks=(check(3, 6, sound=(SHARED,), depth=CONTENT),)),
    }
    assert summary(standings(THREE, notes), SITES) == "D D ."


def test_judge_object_that_a_listing_lacks_is_damage() -> None:
    key = THREE[2].databases[0].dump.key
    absent = ObjectDamage(key=key, kind=MISSING, found=NOW)
    assert summary(standings(THREE, damage=[absent]), DATABASE) == ". . D"


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(10, 1000), (10, 1000), (0, 0)], ". . S"),
        ([(10, 1000), (0, 0), (0, 0), (10, 900)], ". S S ."),
        ([(10, 1000), (10, 499)], ". S"),
        ([(10, 1000), (10, 500)], ". ."),
        ([(10, 1000), (4, 1000)], ". S"),
        ([(100, 1000), (60, 600), (31, 310), (15, 150)], ". . . S"),
        ([(0, 0), (0, 0), (5, 5)], ". . ."),
    ],
)
def test_judge_tree_that_shrank_is_suspect_and_no_baseline(
    sizes: list[tuple[int, int]], expected: str
) -> None:
    history = [
        backup(night, tree(night, files=files, size=size)) for night, (files, size) in enumerate(sizes)
    ]
    assert summary(standings(history), SITES) == expected


def test_judge_logs_are_suspect_only_when_nothing_is_left() -> None:
    sizes = [1000, 1, 0]
    history = [
        backup(night, tree(night, files=1, size=size, name="logs", role="logs"))
        for night, size in enumerate(sizes)
    ]
    assert summary(standings(history), LOGS) == ". . S"


@pytest.mark.parametrize(
    ("copies", "expected"),
    [
        ([(1000, 9000), (0, 8000)], ". S"),
        ([(1000, 9000), (499, 8000)], ". S"),
        ([(1000, 9000), (900, 4000)], ". S"),
        ([(None, 9000), (0, 9000)], ". ."),
        ([(None, 9000), (0, 4000)], ". S"),
        ([(1000, 9000), (None, 9000), (0, 9000)], ". . ."),
    ],
)
def test_judge_database_is_suspect_by_rows_or_bytes(
    copies: list[tuple[int | None, int]], expected: str
) -> None:
    history = [
        backup(night, database(night, rows=rows, size=size)) for night, (rows, size) in enumerate(copies)
    ]
    assert summary(standings(history), DATABASE) == expected


def test_judge_suspect_says_what_dropped_and_since_when() -> None:
    history = [backup(1, tree(1, files=5114, size=1200)), backup(2, tree(2, files=0, size=1100))]
    (reason,) = standings(history).of_series(SITES)[0].unfit
    assert reason.kind == SUSPECT
    assert reason.text == f"it has 0 files, while backup {id_of(1)} had 5114 files"


def test_judge_share_of_none_accepts_every_size() -> None:
    history = [backup(1, tree(1)), backup(2, tree(2, files=0, size=0))]
    assert summary(standings(history, shrink=lambda part, role: None), SITES) == ". ."


def test_judge_accepted_copy_is_the_baseline_of_those_after_it() -> None:
    sizes = [100, 10, 9, 8, 3]
    history = [backup(night, tree(night, files=size, size=size)) for night, size in enumerate(sizes)]
    assert summary(standings(history), SITES) == ". S S S S"
    notes = {1: Annotations(acceptance=accepted(1, SITES))}
    found = standings(history, notes)
    assert summary(found, SITES) == ". . . . S"
    assert found.copies[1].accepted == "moved away"
    other = {1: Annotations(acceptance=accepted(1, DATABASE))}
    assert summary(standings(history, other), SITES) == ". S S S S", "another part was accepted"


def test_judge_damaged_copy_is_still_a_baseline_unless_its_manifest_was_altered() -> None:
    history = [backup(1, tree(1, files=100)), backup(2, tree(2, files=60)), backup(3, tree(3, files=40))]
    index = history[1].trees[0].stored_index.key
    notes = {2: Annotations(checks=(check(2, 5, damage={index: MISSING}),))}
    assert summary(standings(history, notes), SITES) == ". D ."
    notes = {2: Annotations(checks=(check(2, 5, damage={keys.manifest_key(id_of(2)): ALTERED}),))}
    assert summary(standings(history, notes), SITES) == ". D S"


def test_judge_failed_copy_is_neither_judged_nor_baseline() -> None:
    history = [backup(1, tree(1)), backup(2, tree(2, files=0, size=0, state=FAILED)), backup(3, tree(3))]
    found = standings(history)
    assert summary(found, SITES) == ". ." and found.of(id_of(2), SITES) is None


def test_judge_copy_dated_in_the_future_is_no_baseline() -> None:
    history = [backup(1, tree(1, files=10)), backup(2, tree(2, files=1000)), backup(3, tree(3, files=10))]
    later = replace(history[1], started=NOW + timedelta(hours=1))
    assert standings([history[0], later, history[2]]).of(id_of(3), SITES).fit  # type: ignore[union-attr]  # it was written before


def test_judge_safety_copy_is_unfit_and_no_baseline() -> None:
    history = [
        backup(1, database(1, size=1000)),
        backup(2, database(2, size=9000), safety=True),
        backup(3, database(3, size=900)),
    ]
    found = standings(history)
    assert summary(found, DATABASE) == ". P ."
    assert "restore in place" in found.copies[1].why


@pytest.mark.parametrize(
    ("announced", "size", "expected"),
    [
        (Expected(by="restore", files=4, bytes=400), 4, ". ."),
        (Expected(by="restore", files=4, bytes=400), 1, ". S"),
        (Expected(by="restore", files=0, bytes=0), 0, ". ."),
        (Expected(by="restore", files=100, bytes=10_000), 10, ". S"),
        (Expected(by="undo"), 1, ". ."),
        (Expected(by="undo"), 0, ". S"),
    ],
)
def test_judge_size_that_a_restore_announced_explains_a_drop(
    announced: Expected, size: int, expected: str
) -> None:
    history = [
        backup(1, tree(1, files=10, size=1000)),
        backup(2, tree(2, files=size, size=100 * size, expected=announced)),
    ]
    assert summary(standings(history), SITES) == expected


sizes = st.lists(st.sampled_from([0, 1, 2, 3, 5, 10, 49, 50, 100, 1000]), max_size=10)


def nights(found: list[int]) -> list[Manifest]:
    return [backup(night, tree(night, files=size, size=size)) for night, size in enumerate(found)]


@given(sizes)
def test_judge_law_a_suspect_copy_changes_nothing_for_the_others(found: list[int]) -> None:
    history = nights(found)
    before = {item.backup_id: item.fit for item in standings(history).copies}
    for gone in history:
        if not before[gone.id]:
            rest = [item for item in history if item is not gone]
            assert {item.backup_id: item.fit for item in standings(rest).copies} == {
                key: fit for key, fit in before.items() if key != gone.id
            }


@given(sizes)
def test_judge_law_fit_sizes_never_halve_from_one_to_the_next(found: list[int]) -> None:
    fit = [size for size, item in zip(found, standings(nights(found)).copies, strict=True) if item.fit]
    for before, after in zip(fit, fit[1:], strict=False):
        assert after >= before / 2 and (after or not before)


@given(sizes, st.data())
def test_judge_law_accepting_changes_nothing_before_and_suffices_for_its_size(
    found: list[int], data: st.DataObject
) -> None:
    history = nights(found)
    if not history:
        return
    number = data.draw(st.integers(0, len(history) - 1))
    before = standings(history).copies
    after = standings(history, {number: Annotations(acceptance=accepted(number, SITES))}).copies
    assert after[:number] == before[:number]
    assert after[number].fit
    assert [item.fit for item in after[number + 1 :]] == [
        item.fit for item in standings(history[number:]).copies[1:]
    ]


names = st.sampled_from(["a", "b", "c"])
checks = st.lists(
    st.tuples(
        st.integers(0, 3), st.integers(1, 6), names, st.booleans(), st.sampled_from([MISSING, ALTERED])
    ),
    max_size=8,
)


@given(st.lists(st.sets(names), min_size=1, max_size=4), checks)
def test_judge_law_a_copy_is_damaged_if_the_last_reading_of_an_object_it_needs_failed(
    needed: list[set[str]], found: list[tuple[int, int, str, bool, str]]
) -> None:
    number = {"a": 1, "b": 2, "c": 3}

    def key(name: str) -> str:
        return pack(0, number[name])

    history = [
        backup(night, tree(night, packs=tuple(map(key, sorted(names))))) for night, names in enumerate(needed)
    ]
    notes: dict[int, Annotations] = {}
    readings: dict[str, list[tuple[int, bool]]] = {}
    for night, day, name, sound, kind in found:
        if night >= len(needed) or name not in needed[night]:
            continue
        made = check(
            night, day, damage=None if sound else {key(name): kind}, sound=(key(name),) if sound else ()
        )
        notes[night] = Annotations(checks=(*notes.get(night, Annotations()).checks, made))
        readings.setdefault(name, []).append((day, sound))
    # Of several readings in one moment, the one that failed counts.
    bad = {
        name for name, items in readings.items() if not max(items, key=lambda item: (item[0], not item[1]))[1]
    }
    for night, item in enumerate(standings(history, notes).copies):
        assert item.damaged == bool(bad & needed[night])


def test_judge_of_nothing_is_empty() -> None:
    found = judge([], {}, now=START, shrink=half_but_logs)
    assert found.copies == () and found.newest_fit(SITES) is None


def test_judge_copy_dated_in_the_future_is_unfit_and_compared_with_nothing() -> None:
    found = standings([backup(1, database(1, rows=10)), backup(90, database(90, rows=1000))])
    (reason,) = found.of_series(DATABASE)[0].unfit
    assert reason.kind == FUTURE and "ahead of this host's clock" in reason.text
    later = standings([backup(40, database(40, rows=1000)), backup(41, database(41, rows=10))])
    kinds = [[reason.kind for reason in item.unfit] for item in later.of_series(DATABASE)]
    assert kinds == [[FUTURE], [FUTURE]], "neither is a baseline"
