"""Recovery points and gaps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from igny8_backup.operations.report.model import Gap
from igny8_backup.operations.report.recovery import Measured, measure

NOW = datetime(2026, 11, 22, tzinfo=UTC)
DAY = timedelta(days=1)


def ago(*days: float) -> list[datetime]:
    return [NOW - number * DAY for number in days]


def test_measure_names_each_time_without_a_copy_that_is_too_long() -> None:
    found = measure(ago(9, 8, 4, 3, 2.5), NOW - 30 * DAY, NOW, 2 * DAY)
    first, last = Gap(begin=NOW - 8 * DAY, end=NOW - 4 * DAY), Gap(begin=NOW - 2.5 * DAY, end=NOW)
    assert found == Measured(5, 4 * DAY, (first, last))


def test_measure_begins_with_the_last_point_before_the_period() -> None:
    found = measure(ago(60, 20, 5, 0.5), NOW - 10 * DAY, NOW, 7 * DAY)
    assert found == Measured(3, 15 * DAY, (Gap(begin=NOW - 20 * DAY, end=NOW - 5 * DAY),))


def test_measure_without_points_measures_nothing() -> None:
    assert (
        measure([], NOW - DAY, NOW, DAY) == measure([NOW + DAY], NOW - DAY, NOW, DAY) == Measured(0, None, ())
    )


@given(
    st.lists(st.integers(0, 5000), min_size=1).map(lambda hours: [NOW - timedelta(hours=n) for n in hours]),
    st.integers(1, 5000),
    st.integers(1, 500),
)
def test_measure_gaps_contain_no_point_and_nothing_longer_exists(
    points: list[datetime], period: int, hours: int
) -> None:
    since, allowed = NOW - timedelta(hours=period), timedelta(hours=hours)
    found = measure(points, since, NOW, allowed)
    assert measure(points, since, NOW, None).gaps == ()
    assert found.longest is not None
    for gap in found.gaps:
        assert not any(gap.begin < point < gap.end for point in points)
        assert allowed < gap.end - gap.begin <= found.longest
    for point in (point for point in points if point >= since):
        later = [*(other for other in points if other > point), NOW]
        assert min(later) - point <= allowed or Gap(begin=point, end=min(later)) in found.gaps
