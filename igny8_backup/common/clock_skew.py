"""Do not believe times that are ahead of the clock: :func:`is_ahead`.

The clocks of two hosts differ by seconds, so a time that is a little ahead is believed. A later time was
written by a host whose clock is wrong, or by somebody who wants a forged backup to be the newest one. If such
times were believed, a forged backup would be restored instead of the real one, a check with a wrong date
could hide later damage for years, and a killed run would seem to be alive for ever. Every decision about a
recorded time asks this module.
"""

from __future__ import annotations

from datetime import datetime, timedelta

TOLERANCE = timedelta(minutes=5)
"""A recorded time may be ahead of the clock by this much."""


def is_ahead(moment: datetime, now: datetime) -> bool:
    """Return whether the recorded time ``moment`` is so far after ``now`` that it cannot be right."""
    return moment - now > TOLERANCE
