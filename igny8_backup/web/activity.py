"""Compute what the pages show about work that runs, and about work that has ended lately."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from igny8_backup.common.humanize import (
    age_in_words,
    count_in_words,
    duration_in_words,
    size_in_words,
    time_taken,
)
from igny8_backup.formats.documents.status import Activity, Work
from igny8_backup.operations.status.follow import FORGOTTEN, SILENT
from igny8_backup.web.failures import failure_of_error


@dataclass(frozen=True, kw_only=True)
class WorkRow:
    """A line about work. ``state`` is "running", "silent", "failed" or "done"; ``text`` says it in words.

    ``step`` is what is being done, with ``figures`` about it; ``percent`` is how much of the step is done,
    ``None`` if unknown. ``advice`` and ``page`` say what to do about a failure.
    """

    state: str
    text: str
    step: str = ""
    figures: str = ""
    percent: int | None = None
    advice: str = ""
    page: str = ""


def work_rows(activity: Activity, now: datetime) -> tuple[WorkRow, ...]:
    """Return the lines about the work of the last day, the newest first."""
    works = sorted(activity.works, key=lambda work: work.since, reverse=True)
    return tuple(_row(work, now) for work in works if now - work.reported < FORGOTTEN)


def _row(work: Work, now: datetime) -> WorkRow:
    name, age = f"{work.what[:1].upper()}{work.what[1:]} on {work.host}", age_in_words(work.reported, now)
    if work.ended:
        took = time_taken(work.ended - work.since)
        if not work.error:
            return WorkRow(state="done", text=f"{name} ended {age} ago. It took {took}.")
        failure = failure_of_error(work.error)
        text = f"{name} failed {age} ago, after {took}. {failure.what} ({work.error})"
        return WorkRow(state="failed", text=text, advice=failure.advice, page=failure.page)
    if now - work.reported > SILENT:
        text = f"{name} has not reported for {age}. Its process was killed, or its host is down."
        return WorkRow(state="silent", text=text)
    return WorkRow(
        state="running",
        text=f"{name} has been running for {time_taken(work.reported - work.since)}; it reported {age} ago.",
        step=work.step,
        figures=", ".join(_figures(work)),
        percent=min(99, work.done * 100 // work.total) if work.total else None,
    )


def _figures(work: Work) -> Iterator[str]:
    if not work.step:
        return
    of = f" of about {size_in_words(work.total)}" if work.total else ""
    yield f"{size_in_words(max(0, work.done))}{of}"
    if work.files:
        yield count_in_words(work.files, "file")
    if work.rate:
        yield f"{size_in_words(work.rate)}/s"
        if work.total and work.total > work.done:
            left = timedelta(seconds=(work.total - work.done) / work.rate)
            yield f"about {duration_in_words(left)} left"
