"""Samples: about the share asked for, different objects each day, and eventually all of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igny8_backup.operations.verify.sample import sample

KEYS = st.sets(st.text(min_size=1, max_size=20), min_size=1, max_size=60)
PERCENT = st.integers(1, 100)
DAYS = st.integers(700_000, 800_000)


@given(KEYS, PERCENT, DAYS)
def test_sample_is_never_empty_and_repeatable(keys: set[str], percent: int, day: int) -> None:
    chosen = sample(keys, percent, day)
    assert chosen and chosen <= keys and chosen == sample(sorted(keys), percent, day)
    assert sample(keys, 100, day) == keys


@settings(deadline=None)
@given(KEYS, PERCENT, DAYS, st.integers(1, 100))
def test_sample_any_interval_covers_everything_in_101_runs(
    keys: set[str], percent: int, day: int, every: int
) -> None:
    read = [sample(keys, percent, day + turn * every) for turn in range(101)]
    assert set().union(*read) == keys


@given(KEYS, KEYS, PERCENT, DAYS)
def test_sample_shared_objects_are_chosen_on_the_same_day(
    mine: set[str], others: set[str], percent: int, day: int
) -> None:
    chosen = sample(mine | others, percent, day)
    if chosen & mine:
        assert sample(mine, percent, day) == chosen & mine


@pytest.mark.parametrize(("percent", "nights"), [(5, 31), (10, 13), (20, 8)])
def test_sample_consecutive_days_cover_everything(percent: int, nights: int) -> None:
    keys = {f"packs/web-1/sites/{number}" for number in range(5000)}
    read = [sample(keys, percent, 739_000 + night) for night in range(nights)]
    assert set().union(*read) == keys
    assert all(abs(len(one) / len(keys) - percent / 100) < 0.02 for one in read)
