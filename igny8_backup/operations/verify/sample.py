"""Choose the objects that a verification reads on one day, if reading all of them is too expensive."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from igny8_backup.errors import UsageError

_PLACES = 101
"""The number of places on the circle where a sample may start.

It is prime, so that a verification every n days starts at each place within 101 runs. It is more than a
hundred, so that a sample of one percent reaches from one place to the next."""
_STEP = 62
"""The number of places from one day to the next. 62/101 is close to the golden ratio, which spreads the
samples of successive days evenly over the circle."""


def parse_percent(value: int | str) -> int:
    """Parse a whole number from 1 to 100, with or without a percent sign. Raises ``UsageError``."""
    digits = str(value).removesuffix("%")
    if not (digits.isascii() and digits.isdigit() and 1 <= int(digits) <= 100):
        raise UsageError(
            f"{value!r} is not a whole number from 1 to 100.",
            unchanged="Nothing was read.",
            hint="Give the share of the objects to read in percent, such as 5%.",
        )
    return int(digits)


def sample(keys: Iterable[str], percent: int, day: int) -> set[str]:
    """Choose about ``percent`` of the ``keys`` of objects, at least one, for the day with number ``day``.

    After 101 consecutive days, every key has been chosen even with 1 percent. The keys are placed on a circle
    by their digests, and each day covers an arc of the circle. Therefore backups that share an object choose
    it on the same day.
    """
    start = day * _STEP % _PLACES / _PLACES
    distances = {key: (_place(key) - start) % 1 for key in keys}
    chosen = {key for key, distance in distances.items() if distance < percent / 100}
    return chosen or set(sorted(distances, key=lambda key: distances[key])[:1])


def _place(key: str) -> float:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big") / (1 << 48)
