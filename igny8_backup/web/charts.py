"""Line charts as SVG, computed on the server: no script, no style attribute, no external file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from igny8_backup.common.humanize import duration_in_words, size_in_words, time_taken
from igny8_backup.formats.documents.status import StatusCopy
from igny8_backup.web.calendar import DAYS
from igny8_backup.web.series import Series

WIDTH, HEIGHT = 320, 130
_LEFT, _RIGHT, _TOP, _BOTTOM = 6, 314, 22, 108
_MOST_DOTS, _MOST_ROWS = 70, 100

Point = tuple[datetime, float]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A line chart of ``WIDTH`` by ``HEIGHT``. ``line`` is a polyline in SVG, and ``dots`` mark its points.

    ``limit`` is the distance from the top to a second line, which shows the largest value that is allowed.
    It is None if no second line is drawn.
    """

    title: str
    summary: str
    top: str
    begin: str
    end: str
    line: str
    dots: tuple[tuple[float, float], ...]
    limit: float | None = None
    limit_text: str = ""


@dataclass(frozen=True, kw_only=True)
class Charts:
    """The charts of one database or tree, and a table with the figures of its newest copies (``rows``)."""

    label: str
    charts: tuple[Chart, ...]
    rows: tuple[tuple[str, str, str, str, str], ...]


def make_charts(series: Series, now: datetime) -> Charts | None:
    """Return the charts of the last 60 days; ``None`` if the database or tree has no copy in that time."""
    since = now - timedelta(days=DAYS)
    found = [(backup, copy) for backup, copy in series.copies if backup.started >= since]
    if not found:
        return None
    sizes = [(copy.started, float(copy.bytes)) for _, copy in found]
    stored = [(copy.started, float(copy.stored_bytes)) for _, copy in found]
    durations = [(copy.started, float(copy.seconds)) for _, copy in found]
    ages = _ages([(copy.started, copy.as_of) for _, copy in found], now)
    span = since, now
    return Charts(
        label=series.label,
        charts=(
            _chart("Size before compression", sizes, size_in_words, span),
            _chart("Stored bytes", stored, size_in_words, span),
            _chart("Duration of the backup", durations, _taken, span),
            _chart("Age of the recovery point", ages, _age, span, limit=series.part.max_age, dots=False),
        ),
        rows=tuple(_rows([copy for _, copy in found], now)),
    )


def _rows(copies: Sequence[StatusCopy], now: datetime) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield the figures of the newest copies as text, newest first."""
    ends = [*(copy.started for copy in copies[1:]), now]
    for copy, until in list(zip(copies, ends, strict=True))[: -_MOST_ROWS - 1 : -1]:
        yield (
            f"{copy.started:%Y-%m-%d %H:%M}",
            size_in_words(copy.bytes),
            size_in_words(copy.stored_bytes),
            _taken(copy.seconds),
            _age((until - copy.as_of).total_seconds()),
        )


def _ages(moments: Sequence[tuple[datetime, datetime]], now: datetime) -> list[Point]:
    """Return the age of the newest copy over time: the age grows until the next copy is made, then falls."""
    points: list[Point] = []
    for number, (started, as_of) in enumerate(moments):
        until = moments[number + 1][0] if number + 1 < len(moments) else now
        points += [(at, max(0.0, (at - as_of).total_seconds())) for at in (started, max(started, until))]
    return points


def _chart(
    title: str,
    points: Sequence[Point],
    words: Callable[[float], str],
    span: tuple[datetime, datetime],
    *,
    limit: int | None = None,
    dots: bool = True,
) -> Chart:
    values = [value for _, value in points]
    # A limit far above the figures would press them flat, so it is drawn only if they come near it.
    shown = limit if limit is not None and max(values) > limit / 3 else None
    highest = max(*values, shown or 0, 1) * 1.1
    placed = [(_x(at, span), _y(value, highest)) for at, value in points]
    return Chart(
        title=title,
        summary=f"From {words(min(values))} to {words(max(values))}; the newest is {words(values[-1])}.",
        top=words(max(values)),
        begin=f"{span[0]:%b} {span[0].day}",
        end=f"{span[1]:%b} {span[1].day}",
        line=" ".join(f"{x},{y}" for x, y in placed),
        dots=tuple(placed) if dots and len(placed) <= _MOST_DOTS else (),
        limit=_y(shown, highest) if shown else None,
        limit_text=f"limit {words(shown)}" if shown else "",
    )


def _x(at: datetime, span: tuple[datetime, datetime]) -> float:
    share = (at - span[0]) / (span[1] - span[0])
    return round(_LEFT + (_RIGHT - _LEFT) * min(1.0, max(0.0, share)), 1)


def _y(value: float, highest: float) -> float:
    return round(_BOTTOM - (_BOTTOM - _TOP) * value / highest, 1)


def _taken(seconds: float) -> str:
    return time_taken(timedelta(seconds=seconds))


def _age(seconds: float) -> str:
    return duration_in_words(timedelta(seconds=seconds), units=2)
