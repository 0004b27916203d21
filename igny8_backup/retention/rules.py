"""The setting ``RETENTION``: its rules, the periods that they count, and its default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

PERIODS: Mapping[str, Callable[[datetime], str]] = {
    "hourly": lambda moment: f"{moment.isoformat(' ')[:13]}:00",
    "daily": lambda moment: moment.isoformat()[:10],
    "weekly": lambda moment: "{:04}-W{:02}".format(*moment.isocalendar()),
    "monthly": lambda moment: moment.isoformat()[:7],
    "yearly": lambda moment: moment.isoformat()[:4],
}
"""For each rule, a function that returns the name of the period that contains a time (in UTC)."""

OLDEST = frozenset({"daily", "weekly", "monthly", "yearly"})
"""The rules that keep the oldest good copy of a period. A copy that such a rule has once chosen stays chosen
until its period is too old, because all further copies of the period are newer."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The setting ``RETENTION``: which copies of a part (a database or tree) to keep.

    The policy keeps:

    * the newest copies, as many as ``last`` says, and all copies younger than ``within``;
    * the newest copy of each hour, for the ``hourly`` newest hours that have a copy;
    * the oldest copy of each day, week, month and year, for the ``daily`` newest days that have a copy, the
      ``weekly`` newest weeks, and so on;
    * the newest copies that a drill (a practice restore) has restored, as many as ``proven`` says.
    """

    last: int = 0
    within: timedelta = timedelta()
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    proven: int = 1

    @classmethod
    def of(cls, values: Mapping[str, object]) -> Policy:
        """Return the policy for the setting ``RETENTION``. Raises ``ValueError`` if a value is wrong."""
        known = {field.name: timedelta if field.name == "within" else int for field in fields(cls)}
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"{name!r} is not one of {', '.join(known)}")
            kind = known[name]
            if type(value) is not kind:
                raise ValueError(f"{name!r} is {value!r}, not of type {kind.__name__}")
            if value < kind():  # type: ignore[operator]  # both are of that kind
                raise ValueError(f"{name!r} is {value!r}, which is negative")
        if not any(values.values()):
            raise ValueError("it would keep nothing")
        return cls(**values)  # type: ignore[arg-type]  # each was just checked


DEFAULT = Policy(last=3, daily=14, weekly=8, monthly=12)
