"""Which objects to read, where reading all of them each time costs too much."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

_PLACES = 101
"""Places on the circle where a sample may begin. A prime, so that whoever comes every so many days begins at
each of them within as many runs; and more than a hundred, so that one percent reaches the next place."""
_STEP = 62
"""Places from one day to the next: near the golden section, which spreads the days evenly."""


def sample(keys: Iterable[str], percent: int, day: int) -> set[str]:
    """About so many ``percent`` of the ``keys`` of objects, one at least; on each ``day`` (a number that goes
    up by one) others, and after 101 runs every one of them has been chosen.

    The keys lie on a circle, by their digests, and a day has an arc of it: the backups that share an object
    choose it on the same day, and the more there is of it the better it comes to the percent.
    """
    start = day * _STEP % _PLACES / _PLACES
    behind = {key: (_place(key) - start) % 1 for key in keys}
    chosen = {key for key, distance in behind.items() if distance < percent / 100}
    return chosen or set(sorted(behind, key=lambda key: behind[key])[:1])


def _place(key: str) -> float:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big") / (1 << 48)
