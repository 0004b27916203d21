"""Clocks that are wrong: the newest backup is told by its date."""

from __future__ import annotations

from datetime import datetime, timedelta

from igny8_backup.formats import keys
from igny8_backup.humanize import duration_in_words

TOLERANCE = timedelta(minutes=5)
"""Clocks of several hosts may differ by so much without a word."""


def dated_ahead(newest: str, now: datetime) -> str:
    """A note if the id of the ``newest`` backup is dated after ``now``; else, and without an id, empty."""
    ahead = keys.id_time(newest) - now if newest else timedelta(0)
    if ahead <= TOLERANCE:
        return ""
    return (
        f"Backup {newest} is dated {duration_in_words(ahead)} in the future: the clock here is wrong, or that"
        " of the host that made it was. Until its date has passed it counts as the newest: give restore_all"
        " the id of the one that you mean."
    )
