"""The calendar of the last 60 days: one cell for each day and each database or tree."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

from igny8_backup.common.humanize import count_in_words, duration_in_words
from igny8_backup.web.series import Series

DAYS = 60
COMPLETE, FAILED, NONE, BEFORE = "complete", "failed", "none", "before"
_CELL, _STEP, _LEFT, _TOP = 14, 18, 30, 16
_WEEKDAYS = ("Mon", "", "Wed", "", "Fri", "", "Sun")


@dataclass(frozen=True, kw_only=True)
class Day:
    """A day of the calendar.

    ``state`` is "complete", "failed", "none" (no backup), or "before": before the first known backup or run,
    or today as long as there is no backup.
    """

    date: date
    state: str
    text: str
    x: int
    y: int


@dataclass(frozen=True, kw_only=True)
class Calendar:
    """The calendar of one database or tree, as a drawing of ``width`` by ``height`` pixels."""

    label: str
    summary: str
    days: tuple[Day, ...]
    months: tuple[tuple[int, str], ...]
    weekdays: tuple[tuple[int, str], ...]
    width: int
    height: int


def make_calendar(series: Series, now: datetime) -> Calendar:
    """Return the calendar of the last ``DAYS`` days in UTC. The last day is that of ``now``."""
    today = now.astimezone(UTC).date()
    first = today - timedelta(days=DAYS - 1)
    monday = first - timedelta(days=first.weekday())
    complete = Counter(backup.started.date() for backup, _ in series.copies)
    failed = Counter(when.date() for when, _ in series.failures)
    begun = min((*complete, *failed), default=today)
    days = []
    for number in range(DAYS):
        day = first + timedelta(days=number)
        state, text = _state(day, today, begun, complete[day], failed[day])
        week = (day - monday).days // 7
        x, y = _LEFT + week * _STEP, _TOP + day.weekday() * _STEP
        days.append(Day(date=day, state=state, text=f"{day}: {text}", x=x, y=y))
    weeks = (today - monday).days // 7 + 1
    return Calendar(
        label=series.label,
        summary=_summary(days, series, now),
        days=tuple(days),
        months=_months(days),
        weekdays=tuple((_TOP + row * _STEP + 11, name) for row, name in enumerate(_WEEKDAYS) if name),
        width=_LEFT + weeks * _STEP,
        height=_TOP + 7 * _STEP,
    )


def _state(day: date, today: date, begun: date, complete: int, failed: int) -> tuple[str, str]:
    if complete:
        also = f", and {count_in_words(failed, 'failed run')}" if failed else ""
        return COMPLETE, f"{count_in_words(complete, 'complete backup')}{also}"
    if failed:
        return FAILED, f"no complete backup, {count_in_words(failed, 'failed run')}"
    if day < begun:
        return BEFORE, "before the first backup that is still known"
    return (BEFORE, "no backup yet") if day == today else (NONE, "no backup")


def _summary(days: list[Day], series: Series, now: datetime) -> str:
    expected = [day for day in days if day.state != BEFORE]
    done = sum(day.state == COMPLETE for day in expected)
    text = f"{done} of {count_in_words(len(expected), 'day')} complete"
    since = datetime.combine(days[0].date, datetime.min.time(), UTC)
    moments = [backup.started for backup, _ in series.copies if backup.started >= since]
    gaps = [later - earlier for earlier, later in pairwise([*moments, now])]
    return f"{text}; the longest gap was {duration_in_words(max(gaps), units=2)}" if gaps else text


def _months(days: list[Day]) -> tuple[tuple[int, str], ...]:
    """Return position and name of each month, except months with too few columns for their name."""
    starts = {f"{day.date:%b}": day.x for day in reversed(days)}
    placed = sorted((x, name) for name, x in starts.items())
    return tuple(
        (x, name)
        for (x, name), (after, _) in zip(placed, [*placed[1:], (10_000, "")], strict=True)
        if after - x >= 2 * _STEP
    )
