"""Warn about clocks that are wrong, because the time in the id decides which backup is the newest."""

from __future__ import annotations

from datetime import datetime, timedelta

from igny8_backup.formats import keys
from igny8_backup.humanize import duration_in_words

TOLERANCE = timedelta(minutes=5)
"""The difference between the clocks of two hosts that is not reported."""


def future_date_note(newest: str, now: datetime) -> str:
    """Return a note if the id ``newest`` has a time after ``now``, else ``""``. ``newest`` may be empty."""
    ahead = keys.id_time(newest) - now if newest else timedelta(0)
    if ahead <= TOLERANCE:
        return ""
    return (
        f"Backup {newest} is dated {duration_in_words(ahead)} in the future: the clock of this host is wrong,"
        " or that of the host that made the backup was. Until that date it counts as the newest backup: give"
        " restore_all the id of the backup that you mean."
    )
