"""Which dumps are full, differential and incremental."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igny8_backup.chunks.kinds import Choice, LastDump, choose_kind
from igny8_backup.formats.chunked import DIFFERENTIAL, FULL, INCREMENTAL

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(days=7)


def last(ago: timedelta, full_ago: timedelta) -> LastDump:
    return LastDump(started=NOON - ago, full_started=NOON - full_ago)


@pytest.mark.parametrize(
    ("previous", "kind"),
    [
        (None, FULL),
        (last(HOUR, HOUR), INCREMENTAL),
        (last(HOUR, 3 * DAY), INCREMENTAL),
        (last(13 * HOUR, 3 * DAY), DIFFERENTIAL),
        (last(DAY, DAY), DIFFERENTIAL),
        (last(DAY, 6 * DAY), DIFFERENTIAL),
        (last(DAY, 7 * DAY - HOUR), FULL),
        (last(HOUR, 7 * DAY - HOUR), INCREMENTAL),
        (last(HOUR, 7 * DAY - HOUR / 3), FULL),
        (last(30 * DAY, 30 * DAY), FULL),
    ],
)
def test_kind_follows_from_the_last_dump(previous: LastDump | None, kind: str) -> None:
    found = choose_kind(NOON, previous, full_every=WEEK)
    assert found == Choice(kind, due=previous is not None and kind == FULL)


@pytest.mark.parametrize(
    ("full_ago", "failed", "kind"),
    [(7 * DAY, 1, FULL), (7 * DAY, 2, INCREMENTAL), (14 * DAY, 5, INCREMENTAL), (14 * DAY + HOUR, 5, FULL)],
)
def test_full_dump_that_failed_twice_is_put_off_for_one_period(
    full_ago: timedelta, failed: int, kind: str
) -> None:
    tries = [NOON - number * HOUR / 4 for number in range(failed)]
    found = choose_kind(NOON, last(HOUR, full_ago), full_every=WEEK, tries=tries)
    assert found == Choice(kind, due=True, again=kind == FULL)


@pytest.mark.parametrize(
    ("full_ago", "tries", "kind"),
    [
        (3 * DAY, [2 * DAY], FULL),
        (3 * DAY, [2 * DAY, DAY], INCREMENTAL),
        (7 * DAY, [2 * DAY, DAY], FULL),
        (7 * DAY, [2 * DAY, DAY, HOUR], FULL),
        (7 * DAY, [2 * DAY, 2 * HOUR, HOUR], INCREMENTAL),
    ],
)
def test_demanded_full_dump_that_failed_is_tried_again(
    full_ago: timedelta, tries: list[timedelta], kind: str
) -> None:
    times = [NOON - ago for ago in tries]
    found = choose_kind(NOON, last(HOUR, full_ago), full_every=WEEK, tries=times)
    assert found == Choice(kind, due=True, again=kind == FULL)


def test_user_can_force_a_kind() -> None:
    assert choose_kind(NOON, last(HOUR, HOUR), forced=FULL, full_every=WEEK).kind == FULL
    assert choose_kind(NOON, last(HOUR, HOUR), forced=DIFFERENTIAL, full_every=WEEK).kind == DIFFERENTIAL
    assert choose_kind(NOON, None, forced=DIFFERENTIAL, full_every=WEEK).kind == FULL
    due = last(HOUR, 8 * DAY)
    assert choose_kind(NOON, due, full_every=WEEK).kind == FULL
    assert choose_kind(NOON, due, forced=DIFFERENTIAL, full_every=WEEK) == Choice(DIFFERENTIAL)


def test_obstacle_makes_the_dump_full_and_is_said() -> None:
    found = choose_kind(NOON, last(HOUR, HOUR), full_every=WEEK, why_full="the recipients have changed")
    assert found == Choice(FULL, "the recipients have changed")


@pytest.mark.parametrize("previous", [last(HOUR, -HOUR), last(-HOUR, HOUR)])
def test_dump_after_one_from_the_future_is_full(previous: LastDump) -> None:
    assert choose_kind(NOON, previous, full_every=WEEK) == Choice(
        FULL, "an earlier dump is dated in the future"
    )


def week(period: timedelta) -> Iterator[tuple[datetime, str]]:
    """Yield the time and the kind of each dump of three weeks of regular runs."""
    previous, now = None, NOON
    while now < NOON + 3 * WEEK:
        kind = choose_kind(now, previous, full_every=WEEK).kind
        full = now if kind == FULL or previous is None else previous.full_started
        previous = LastDump(started=now, full_started=full)
        yield now, kind
        now += period


@settings(deadline=None)
@given(st.sampled_from([15, 60, 90, 240, 720, 1440]).map(lambda minutes: timedelta(minutes=minutes)))
def test_regular_runs_are_full_once_a_week_and_differential_once_a_day(period: timedelta) -> None:
    runs = list(week(period))
    fulls = [moment for moment, kind in runs if kind == FULL]
    assert [moment - fulls[0] for moment in fulls] == [timedelta(), WEEK, 2 * WEEK]
    days = {moment.date() for moment, _ in runs} - {moment.date() for moment in fulls}
    for day in days:
        kinds = [kind for moment, kind in runs if moment.date() == day]
        assert kinds[0] == DIFFERENTIAL
        assert set(kinds[1:]) <= {INCREMENTAL}
