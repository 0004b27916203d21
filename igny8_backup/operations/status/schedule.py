"""Check whether the schedule of backups fits ``RETENTION``, and the time that a backup takes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from igny8_backup.common.humanize import duration_in_words
from igny8_backup.conf import SETTING, Config, Problem
from igny8_backup.formats.documents.status import StatusRun
from igny8_backup.formats.manifest import COMPLETE
from igny8_backup.operations.guards.preconditions import make_problem
from igny8_backup.operations.status.keep import read_status
from igny8_backup.retention.rules import Policy

_DAY = timedelta(days=1)
_PAGE = 'See "Back up every hour" in the documentation.'
SHARE = 4
"""A run takes too long if it needs more than 1 / ``SHARE`` of the time between two runs."""


def find_problems(config: Config) -> list[Problem]:
    """Return W070 if ``RETENTION`` does not fit the schedule, and W071 if a backup takes too long for it.

    How long backups take is read from the status document, so nothing is known before the first backup.
    """
    return [*_retention_problems(config), *_duration_problems(config)]


def _retention_problems(config: Config) -> Iterator[Problem]:
    every = min(config.backup_every.values(), default=_DAY)
    if every < _DAY and not _keeps_a_day(config.retention, every):
        yield make_problem(
            "W070",
            f"Backups are made every {duration_in_words(every)}, and RETENTION keeps only the newest"
            f" {config.retention.last} of the backups of a day, and the first: the others are removed by the"
            " next prune_backups.",
            f'Add "hourly": 48 to {SETTING}["RETENTION"]. {_PAGE}',
        )


def _keeps_a_day(policy: Policy, every: timedelta) -> bool:
    """Return whether ``policy`` keeps at least one backup for each hour of the last day.

    ``every`` is the time between two backups.
    """
    return (
        policy.hourly >= _DAY // max(every, timedelta(hours=1))
        or max(policy.within, policy.last * every) >= _DAY
    )


def _duration_problems(config: Config) -> Iterator[Problem]:
    status = read_status(config).status
    for run in status.runs if status else ():
        every = min((config.backup_every.get(name, _DAY) for name in run.requested), default=_DAY)
        if run.host != config.host or run.outcome != COMPLETE or (took := _duration(run)) is None:
            continue
        if every < _DAY and took > every / SHARE:
            yield make_problem(
                "W071",
                f"The newest backup took {duration_in_words(took, units=2)}, and one is made every"
                f" {duration_in_words(every)}.",
                f"Make backups less often, or make them faster: dumps in chunks store less. {_PAGE}",
            )
        return


def _duration(run: StatusRun) -> timedelta | None:
    finished: datetime | None = run.finished
    return finished - run.started if finished else None
