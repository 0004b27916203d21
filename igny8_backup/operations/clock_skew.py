"""Warn about clocks that are wrong: the date in its id decides which backup is the newest."""

from __future__ import annotations

from datetime import datetime, timedelta

from igny8_backup.formats import keys
from igny8_backup.humanize import duration_in_words

TOLERANCE = timedelta(minutes=5)
"""By how much the clocks of several hosts may differ without a note."""


def future_date_note(newest: str, now: datetime) -> str:
    """A note if the id of the ``newest`` backup is dated after ``now``, else ``""``."""
    ahead = keys.id_time(newest) - now if newest else timedelta(0)
    if ahead <= TOLERANCE:
        return ""
    return (
        f"Backup {newest} is dated {duration_in_words(ahead)} in the future: the clock of this host is wrong,"
        " or that of the host that made the backup was. Until that date it counts as the newest backup: give"
        " restore_all the id of the backup that you mean."
    )
