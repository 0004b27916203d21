"""A clock that tests set."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from igny8_backup.operations.context import BackupContext

NIGHT = datetime(2026, 9, 1, 1, 15, tzinfo=UTC)


class Clock:
    """Returns the time that it was set to, a millisecond later at each call."""

    def __init__(self, now: datetime = NIGHT) -> None:
        self.now = now

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    def forward(self, **amount: float) -> None:
        """Set the clock forward: ``days=1``, ``hours=2``."""
        self.now += timedelta(**amount)


def by_clock(context: BackupContext, clock: Clock) -> BackupContext:
    """The context with that clock."""
    return replace(context, clock=clock)
