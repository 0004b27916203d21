"""Durations, sizes and counts in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from igny8_backup.common.humanize import (
    age_in_words,
    count_in_words,
    duration_in_words,
    size_from_words,
    size_in_words,
)


@pytest.mark.parametrize(
    ("seconds", "one", "two"),
    [
        (0, "0 seconds", "0 seconds"),
        (1, "1 second", "1 second"),
        (59.9, "59 seconds", "59 seconds"),
        (60, "1 minute", "1 minute"),
        (5400, "1 hour", "1 hour 30 minutes"),
        (86_400 * 3 + 60, "3 days", "3 days 1 minute"),
    ],
)
def test_duration_in_words_names_the_largest_units(seconds: float, one: str, two: str) -> None:
    assert duration_in_words(timedelta(seconds=seconds)) == one
    assert duration_in_words(timedelta(seconds=seconds), units=2) == two


def test_age_in_words_of_later_time_is_in_the_future() -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    assert age_in_words(now + timedelta(minutes=6), now) == "in the future"
    assert age_in_words(now + timedelta(minutes=5), now) == "0 seconds"
    assert age_in_words(now - timedelta(hours=5), now) == "5 hours"


@pytest.mark.parametrize(
    ("amount", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (42_300_000, "42.3 MB"), (10**15, "1000.0 TB")],
)
def test_size_in_words_uses_decimal_units(amount: int, words: str) -> None:
    assert size_in_words(amount) == words


def test_count_in_words_of_one_has_no_plural() -> None:
    assert (count_in_words(1, "file"), count_in_words(5114, "file")) == ("1 file", "5114 files")


@pytest.mark.parametrize(
    ("text", "amount"),
    [("0", 0), ("1500", 1500), ("1500 B", 1500), ("1.5 GB", 1_500_000_000), ("200g", 200 * 10**9),
     ("2KiB", 2048), (" 1 TiB ", 1 << 40)],
)  # fmt: skip
def test_size_from_words_returns_bytes(text: str, amount: int) -> None:
    assert size_from_words(text) == amount


@pytest.mark.parametrize("text", ["", "GB", "-1", "1,5 GB", "5 iB", "1 PB", "1e9", "x"])
def test_size_from_words_of_other_text_raises(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size such as 200GB"):
        size_from_words(text)
