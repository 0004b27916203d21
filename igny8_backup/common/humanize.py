"""Format durations, sizes, counts and untrusted text for people, and parse sizes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from igny8_backup.common.clock_skew import is_ahead

_CONTROL = re.compile(r"[^\n\t\x20-\x7e\xa0-\U0010ffff]|[\ud800-\udfff\u2028-\u202e\u2066-\u2069]")
_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))

_SIZE = re.compile(r"(?P<amount>\d+(\.\d+)?) ?((?P<unit>[kMGT])(?P<binary>i?))?B?", re.IGNORECASE)


def duration_in_words(duration: timedelta, *, units: int = 1) -> str:
    """Format a duration with its ``units`` largest units, rounded down: ``3 days``, ``1 hour 30 minutes``."""
    seconds = int(duration.total_seconds())
    parts = []
    for unit, length in _UNITS:
        amount, seconds = divmod(seconds, length)
        if amount:
            parts.append(count_in_words(amount, unit))
    return " ".join(parts[:units]) or "0 seconds"


def time_taken(duration: timedelta) -> str:
    """Format how long some work took: ``4 minutes 12 seconds``, ``less than a second``."""
    if duration < timedelta(seconds=1):
        return "less than a second"
    return duration_in_words(duration, units=2)


def age_in_words(since: datetime, now: datetime) -> str:
    """Format the time from ``since`` to ``now``: ``3 days``; ``in the future`` if ``since`` is later.

    If ``since`` is later by a few minutes only, the age is taken to be 0, because clocks differ.
    """
    return "in the future" if is_ahead(since, now) else duration_in_words(max(now - since, timedelta(0)))


def old_in_words(since: datetime, now: datetime) -> str:
    """Format an age: ``3 days old``; ``dated in the future`` if ``since`` is much later than ``now``."""
    return "dated in the future" if is_ahead(since, now) else f"{age_in_words(since, now)} old"


def size_in_words(amount: float) -> str:
    """Format a number of bytes in decimal units, as storage is sold: ``1.5 GB``."""
    if amount < 1000:
        return f"{amount:.0f} B"
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 1000:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1000:.1f} TB"


def size_from_words(text: str) -> int:
    """Return the bytes of a size such as ``1.5 GB``, ``200G``, ``512 MiB`` or ``1000000``.

    Raises ``ValueError`` if ``text`` is no such size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size such as 200GB")
    base = 1024 if match["binary"] else 1000
    power = "kmgt".index(match["unit"].lower()) + 1 if match["unit"] else 0
    return int(float(match["amount"]) * base**power)


def count_in_words(amount: int, noun: str) -> str:
    """Format a count with its noun: ``1 file``, ``5114 files``."""
    return f"{amount} {noun}{'' if amount == 1 else 's'}"


def printable(text: str) -> str:
    """Return ``text`` with control characters escaped, except newlines and tabs.

    File names and text from storage could otherwise control the terminal.
    """
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def one_line(text: str) -> str:
    """Return ``text`` with control characters and newlines escaped.

    A file name or a label could otherwise forge a line of output.
    """
    return printable(text).replace("\n", "\\x0a")


def indented(text: str) -> str:
    """Return ``text`` with control characters escaped and all lines but the first indented.

    Without the indent, a line of the text could look like a line of the command itself.
    """
    return printable(text).replace("\n", "\n    ")


def listed(items: Sequence[str], most: int = 3) -> str:
    """Join at most ``most`` items with commas, and count the rest: ``a, b, c and 4 more``."""
    rest = len(items) - most
    return ", ".join(items[:most]) + (f" and {rest} more" if rest > 0 else "")
