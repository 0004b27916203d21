"""The history of each database and tree, from the status document: its copies and its failed runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from igny8_backup.formats.documents.run_record import NOT_DONE
from igny8_backup.formats.documents.status import Status, StatusBackup, StatusCopy, StatusPart, StatusRun
from igny8_backup.formats.manifest import COMPLETE, RUNNING


@dataclass(frozen=True, kw_only=True)
class Series:
    """A database or tree with its complete ``copies``, oldest first, and its ``failures``, oldest first.

    ``failures`` holds, for each run that did not back up this database or tree, the start and the id of the
    run.
    """

    part: StatusPart
    copies: tuple[tuple[StatusBackup, StatusCopy], ...]
    failures: tuple[tuple[datetime, str], ...]

    @property
    def label(self) -> str:
        """The name of the database or tree, as ``monitor_backups`` writes it."""
        return label_of(self.part)

    @property
    def newest_failure(self) -> str:
        """The id of the newest run that failed to back up this database or tree.

        Empty if no run failed, or if a complete copy has been made since.
        """
        if not self.failures:
            return ""
        when, run_id = self.failures[-1]
        return "" if self.copies and self.copies[-1][0].started > when else run_id


def label_of(part: StatusPart) -> str:
    """Return the name of a database or tree, as ``monitor_backups`` writes it."""
    return f"{part.kind} {part.name} of {part.host}"


def all_series(status: Status) -> list[Series]:
    """Return the history of each database and tree in the status document."""
    copies: defaultdict[tuple[str, str, str], list[tuple[StatusBackup, StatusCopy]]] = defaultdict(list)
    failures: defaultdict[tuple[str, str], dict[str, datetime]] = defaultdict(dict)
    for backup in sorted(status.backups, key=lambda item: item.started):
        for copy in backup.copies:
            if copy.state == COMPLETE:
                copies[backup.host, copy.kind, copy.name].append((backup, copy))
            else:
                failures[backup.host, copy.name][backup.id] = backup.started
    made = {backup.id for backup in status.backups}
    for run in status.runs:
        for name in failed_names(run, made=run.id in made):
            failures[run.host, name][run.id] = run.started
    return [
        Series(
            part=part,
            copies=tuple(copies[part.host, part.kind, part.name]),
            failures=_in_order(failures[part.host, part.name]),
        )
        for part in status.parts
    ]


def failed_names(run: StatusRun, *, made: bool) -> Sequence[str]:
    """Return the names of the databases and trees that a run did not back up.

    ``made`` says whether the run has made a backup. If it has, only the names in its errors failed.
    """
    if run.outcome in {RUNNING, COMPLETE, *NOT_DONE}:
        return ()
    if made or set(run.errors) & set(run.requested):
        return [name for name in run.requested if name in run.errors]
    return run.requested


def _in_order(found: dict[str, datetime]) -> tuple[tuple[datetime, str], ...]:
    return tuple(sorted((when, run_id) for run_id, when in found.items()))
