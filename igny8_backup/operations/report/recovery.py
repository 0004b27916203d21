"""Measure recovery points: the times to which a database or tree could have been restored."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from igny8_backup.operations.report.model import Gap


@dataclass(frozen=True)
class Measured:
    """The number of recovery points, the longest time without a new one, and the gaps."""

    points: int
    longest: timedelta | None
    gaps: tuple[Gap, ...]


def measure(
    points: Collection[datetime], since: datetime, now: datetime, max_age: timedelta | None
) -> Measured:
    """Measure the time between recovery points from ``since`` to ``now``.

    The last point before ``since`` counts too, because the first interval begins with it. An interval between
    two points, or from the last point to ``now``, is a gap if it is longer than ``max_age``. If ``max_age``
    is ``None``, there are no gaps. ``longest`` is ``None`` if there are no points.
    """
    known = sorted({point for point in points if point <= now})
    first = next((index for index in reversed(range(len(known))) if known[index] <= since), 0)
    known = known[first:]
    between = [Gap(begin=begin, end=end) for begin, end in pairwise([*known, now])] if known else []
    longest = max((gap.end - gap.begin for gap in between), default=None)
    gaps = tuple(gap for gap in between if max_age is not None and gap.end - gap.begin > max_age)
    return Measured(len(known), longest, gaps)
