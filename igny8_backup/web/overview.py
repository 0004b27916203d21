"""Compute what the page about all backups shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from igny8_backup.common.humanize import (
    age_in_words,
    count_in_words,
    duration_in_words,
    listed,
    size_in_words,
    time_taken,
)
from igny8_backup.formats.documents.run_record import NOT_DONE
from igny8_backup.formats.documents.status import Status, StatusCondition, StatusPart, StatusRun
from igny8_backup.formats.manifest import COMPLETE, RUNNING
from igny8_backup.operations.status.keep import Kept
from igny8_backup.web.calendar import make_calendar
from igny8_backup.web.charts import make_charts
from igny8_backup.web.failures import reason_of
from igny8_backup.web.series import Series, all_series, label_of

STALE = timedelta(hours=26)
"""Age from which a status document says nothing about now. A nightly backup refreshes it sooner."""
RUNS, ORPHANS = 20, 20
"""How many runs and orphans the page lists."""
_AT_RENDERING = ("age",)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A problem. ``text`` is a sentence about ``of``. ``run_id`` is the failed run that caused it, if any."""

    of: str
    text: str
    run_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A database, tree, host or storage with the text of all its problems, and the failed run, if any."""

    of: str
    text: str
    run_id: str


@dataclass(frozen=True, kw_only=True)
class PartRow:
    """A line about the newest backup of a database or tree."""

    label: str
    backup_id: str
    age: str
    when: str
    size: str
    state: str
    good: bool
    verified: str
    drilled: str
    failed_run: str


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """A line about a run. ``link`` is the page with more about it: ``backup``, ``run``, or empty."""

    id: str
    host: str
    when: str
    took: str
    requested: str
    outcome: str
    good: bool
    reason: str
    link: str


def overview(kept: Kept, now: datetime) -> dict[str, Any]:
    """Return the variables of the template, for the kept status document and the present time."""
    status = kept.status
    if status is None:
        return {"kept": kept, "status": None}
    series = all_series(status)
    problems = _by_subject(_problems(status, series, now))
    removed = [backup for backup in reversed(status.backups) if not backup.kept]
    return {
        "kept": kept,
        "status": status,
        "age": age_in_words(status.read, now) if status.read else "",
        "read": utc(status.read) if status.read else "",
        "problem_at": utc(status.problem_at) if status.problem_at else "",
        "headline": _headline(status, problems),
        "problems": problems,
        "parts": [_part_row(one, status, now) for one in series],
        "calendars": [make_calendar(one, now) for one in series],
        "charts": [found for one in series if (found := make_charts(one, now))],
        "runs": [run_row(run, status) for run in status.runs[:RUNS]],
        "removed": [
            {"id": backup.id, "when": utc(backup.started), "size": size_in_words(backup.stored_bytes)}
            for backup in removed
        ],
        "blocked": status.blocked,
        "orphans": [{"key": item.key, "since": utc(item.since)} for item in status.orphans[:ORPHANS]],
        "orphans_more": max(0, len(status.orphans) - ORPHANS),
        "restores": [
            {"restore": item, "since": utc(item.since), "age": age_in_words(item.since, now)}
            for item in status.restores
        ],
        "backups": count_in_words(len(status.backups), "backup"),
    }


def utc(moment: datetime) -> str:
    """Return a time as the page shows it."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def run_row(run: StatusRun, status: Status) -> RunRow:
    """Return the line about a run."""
    made = any(backup.id == run.id for backup in status.backups)
    good = run.outcome in (COMPLETE, RUNNING)
    return RunRow(
        id=run.id,
        host=run.host,
        when=utc(run.started),
        took=time_taken(run.finished - run.started) if run.finished else "",
        requested=", ".join(run.requested),
        outcome=run.outcome,
        good=good,
        reason="" if good else reason_of(run),
        link="run" if not good else "backup" if made else "",
    )


def is_late(part: StatusPart, now: datetime) -> bool:
    """Return whether the newest copy of a database or tree is now older than the settings allow."""
    if part.max_age is None:
        return False
    return part.as_of is None or now - part.as_of > timedelta(seconds=part.max_age)


def _headline(status: Status, problems: list[Subject]) -> str:
    if not problems:
        return "All is well."
    return f"Not all is well: {listed([item.of for item in problems])}."


def _by_subject(problems: Iterable[Problem]) -> list[Subject]:
    found: dict[str, list[Problem]] = {}
    for item in problems:
        found.setdefault(item.of, []).append(item)
    return [
        Subject(
            of=of,
            text=" ".join(f"{item.text[:1].upper()}{item.text[1:]}" for item in items),
            run_id=next((item.run_id for item in items if item.run_id), ""),
        )
        for of, items in found.items()
    ]


def _problems(status: Status, series: list[Series], now: datetime) -> Iterator[Problem]:
    if status.problem:
        yield Problem(of="the storage", text=status.problem)
    if status.read is None:
        return
    if now - status.read > STALE:
        text = (
            f"The storage was read {age_in_words(status.read, now)} ago, so nobody knows whether backups were"
            " made since. Run monitor_backups every hour."
        )
        yield Problem(of="this page", text=text)
    parts = {one.label: one for one in series}
    for one in series:
        if is_late(one.part, now):
            yield Problem(of=one.label, text=_late(one.part, now), run_id=one.newest_failure)
    for item in status.conditions:
        if item.ok or (item.name in _AT_RENDERING and item.of in parts):
            continue
        run = _failed_run(status, item, parts)
        if item.name == "run" and run and any(one.newest_failure == run.id for one in series):
            continue  # the databases and trees that failed are listed already
        reason = f": {reason_of(run)}" if run and reason_of(run) else "."
        yield Problem(of=item.of, text=f"{item.text.rstrip('.')}{reason}", run_id=run.id if run else "")


def _failed_run(status: Status, item: StatusCondition, parts: Mapping[str, Series]) -> StatusRun | None:
    """Return the run that made a condition fail, if one did."""
    if item.name == "complete" and (one := parts.get(item.of)):
        return next((run for run in status.runs if run.id == one.newest_failure), None)
    if item.name == "run":
        return _newest_failed_run(status, item.of.removeprefix("host "))
    return None


def _late(part: StatusPart, now: datetime) -> str:
    if part.as_of is None:
        return "There is no backup that can be relied on."
    allowed = duration_in_words(timedelta(seconds=part.max_age or 0), units=2)
    old = duration_in_words(now - part.as_of, units=2)
    return f"Its newest good backup is {old} old; {allowed} are allowed."


def _newest_failed_run(status: Status, host: str) -> StatusRun | None:
    fine = {COMPLETE, RUNNING, *NOT_DONE}
    return next((run for run in status.runs if run.host == host and run.outcome not in fine), None)


def _part_row(one: Series, status: Status, now: datetime) -> PartRow:
    part = one.part
    failed = [item.name for item in status.conditions if not item.ok and item.of == label_of(part)]
    names = [name for name in failed if name not in _AT_RENDERING]
    words = ["too old" if part.as_of else "no backup"] * is_late(part, now) + [
        _STATES.get(n, n) for n in names
    ]
    return PartRow(
        label=one.label,
        backup_id=part.backup_id,
        age=age_in_words(part.as_of, now) if part.as_of else "",
        when=utc(part.as_of) if part.as_of else "",
        size="" if part.bytes is None else size_in_words(part.bytes),
        state=", ".join(words) or "good",
        good=not words,
        verified=f"{age_in_words(part.verified, now)} ago" if part.verified else "never",
        drilled=f"{age_in_words(part.drilled, now)} ago" if part.drilled else "never",
        failed_run=one.newest_failure,
    )


_STATES = {
    "complete": "newest run failed",
    "size": "suspect size",
    "source": "another source",
    "trusted": "not trusted",
    "incremental": "stores every file again",
    "objects": "objects missing",
    "damage": "damaged",
    "verified": "not verified lately",
    "drilled": "not drilled lately",
}
"""Text for a table cell about a database or tree, by the name of the condition that failed."""
