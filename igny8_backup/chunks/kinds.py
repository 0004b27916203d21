"""Decide whether a dump is full, differential or incremental: :func:`choose_kind`.

A full dump refers to no earlier one. The first dump of a day is differential: it refers to packs of the full
dump only. All others are incremental: they refer to packs of the full dump, of the differential dump of the
day and of the incremental dumps of the day. So a restore never needs more than about a day of small packs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from igny8_backup.common.clock_skew import is_ahead
from igny8_backup.formats.chunked import DIFFERENTIAL, FULL, INCREMENTAL, ChunkedDump

LONGEST_PERIOD = timedelta(days=1)
"""The period of the dumps is taken to be the time since the last dump, but at most this."""
FULL_TRIES = 2
"""After so many full dumps that failed, dumps are based on the old full dump for up to one more period."""


@dataclass(frozen=True, kw_only=True)
class LastDump:
    """The newest good dump of a database: when it began, and when the full dump that it needs began."""

    started: datetime
    full_started: datetime

    @classmethod
    def of(cls, dump: ChunkedDump, started: datetime) -> LastDump:
        """Return the facts about ``dump``, which began at ``started``."""
        return cls(started=started, full_started=dump.full_started)


@dataclass(frozen=True)
class Choice:
    """The kind of the next dump. ``reason`` says why it is full before a full dump is due, or is empty.

    ``due``: a full dump is due, or an earlier run tried to make one and did not complete it (``again``). If
    ``due`` is true and the kind is not full, earlier attempts at the full dump have failed.
    """

    kind: str
    reason: str = ""
    due: bool = False
    again: bool = False


def choose_kind(
    now: datetime,
    last: LastDump | None,
    *,
    full_every: timedelta,
    forced: str = "",
    why_full: str = "",
    tries: Collection[datetime] = (),
) -> Choice:
    """Return the kind of the dump that begins ``now``.

    ``last`` is the newest good dump; ``None`` if there is none. ``full_every`` is the setting. ``forced`` is
    the kind that the user demands, or empty. ``why_full`` says why no reference to earlier packs is possible;
    empty if it is possible. ``tries`` says when those runs began that have tried to make a full dump since
    the last one, and did not complete it.
    """
    if forced == FULL:
        return Choice(FULL)
    if last is None or why_full:
        return Choice(FULL, why_full, again=bool(tries) and not why_full)
    if is_ahead(last.full_started, now) or is_ahead(last.started, now):
        return Choice(FULL, "an earlier dump is dated in the future")
    if forced == DIFFERENTIAL:
        return Choice(DIFFERENTIAL)
    period = min(max(now - last.started, timedelta()), LONGEST_PERIOD, full_every)
    age = now - last.full_started
    by_age = age > full_every - period / 2
    if by_age:
        # A demanded full dump that failed days ago is no reason to put off the one that is due now.
        earliest = last.full_started + full_every - min(LONGEST_PERIOD, full_every) / 2
        failed = sum(moment >= earliest for moment in tries)
    else:
        failed = len(tries)
    due = by_age or failed > 0
    if due and (failed < FULL_TRIES or age > 2 * full_every):
        return Choice(FULL, due=True, again=bool(tries))
    if _day(last.started) != _day(now):
        return Choice(DIFFERENTIAL, due=due)
    return Choice(INCREMENTAL, due=due)


def _day(moment: datetime) -> object:
    return moment.astimezone(UTC).date()
