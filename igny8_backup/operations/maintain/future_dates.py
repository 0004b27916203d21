"""Describe backups, checks, runs and heartbeats that are dated in the future.

Such dates are not believed (:mod:`igny8_backup.common.clock_skew`), so the objects are ignored. They are
reported, because the clock of a host is wrong or somebody has forged the objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from igny8_backup.catalog.backups import Entry
from igny8_backup.catalog.stored_checks import StoredCheck
from igny8_backup.common.clock_skew import is_ahead
from igny8_backup.formats.documents.run_record import RunRecord


def find_future_dates(
    entries: Iterable[Entry],
    checks: Mapping[str, Iterable[StoredCheck]],
    runs: Iterable[RunRecord],
    now: datetime,
) -> tuple[str, ...]:
    """Return a description of each backup, check and run that is dated after ``now``."""
    return tuple(text for text, moment in _dates(entries, checks, runs) if is_ahead(moment, now))


def _dates(
    entries: Iterable[Entry], checks: Mapping[str, Iterable[StoredCheck]], runs: Iterable[RunRecord]
) -> Iterator[tuple[str, datetime]]:
    for entry in entries:
        yield f"backup {entry.id}", entry.started
    for stored in (stored for found in checks.values() for stored in found):
        yield f"the check {stored.key}", stored.check.started
    for run in runs:
        latest = max(run.started, run.heartbeat, run.finished or run.started)
        yield f"the record of run {run.id}", latest
