"""Render a report as one HTML page that needs no other file, no script and no network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import files

from django.template import Context, Engine

from igny8_backup.common.humanize import (
    count_in_words,
    duration_in_words,
    printable,
    size_in_words,
    time_taken,
)
from igny8_backup.formats.documents.annotations import DRILLED
from igny8_backup.formats.manifest import COMPLETE
from igny8_backup.operations.report.model import AuditReport, BackupFacts, CheckFacts, PartFacts


@dataclass(frozen=True)
class Cell:
    """A cell of a table. ``kind`` is ``good``, ``bad`` or empty."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Section:
    """A section with one table. ``none`` is shown if the table has no rows."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    none: str
    intro: str = ""


def render(report: AuditReport) -> str:
    """Return the report as HTML. Every text from the storage is escaped."""
    source = (files(__package__) / "report.html").read_text("utf-8")
    failed = len(report.findings)
    well = f"All {count_in_words(report.conditions, 'condition')} that were checked are met."
    bad = f"{failed} of {count_in_words(report.conditions, 'condition')} are not met: see Findings."
    facts = {
        "created": _time(report.created),
        "since": _time(report.since),
        "storage": printable(report.storage),
        "environment": printable(report.environment),
        "version": report.version,
        "redacted": report.redacted,
        "verdict": bad if failed else well,
        "verdict_class": "bad" if failed else "good",
        "sections": tuple(_sections(report)),
    }
    return Engine(autoescape=True).from_string(source).render(Context(facts))


def _sections(report: AuditReport) -> Iterator[Section]:
    findings = [(item.name, item.of, item.text) for item in report.findings]
    yield _section("Findings", ("Condition", "About", "What was found"), findings, "Nothing was found.")
    yield Section(
        "Databases and trees",
        (
            "Part",
            "Copies",
            "Data from",
            "Recovery point",
            "Longest time without a copy",
            "Gaps",
            "Verified",
            "Drilled",
            "Recovery time",
        ),
        tuple(_part_row(item, report.created) for item in report.parts),
        "No host is expected to make backups.",
        "The recovery point is the age of the newest data that can be restored; the longest time without a"
        " copy is the most that a failure could have cost. The recovery time was measured by the newest"
        " drill, which restored the part and everything else in that drill.",
    )
    gaps = [
        (str(item.part), _time(gap.begin), _time(gap.end), _duration(gap.end - gap.begin))
        for item in report.parts
        for gap in item.gaps
    ]
    yield _section("Gaps", ("Part", "From", "To", "Length"), gaps, "No time between copies was too long.")
    yield _section("Policy", ("Rule", "Value"), list(_policy(report)), "")
    keys = [(key.use, key.name, key.fingerprint, "revoked" if key.revoked else "") for key in report.keys]
    yield _section("Keys", ("Use", "Name", "Fingerprint", "State"), keys, "No key is configured.")
    yield Section(
        "Verifications and drills",
        ("Backup", "Depth", "When", "Took", "Parts", "Objects read", "Result"),
        tuple(_check_row(item) for item in report.checks),
        "Nothing was verified or drilled in this time.",
        "The newest of each depth for each backup.",
    )
    columns = ("Backup", "Host", "Contents", "Stored", "Took", "Encrypted", "Signed by", "State")
    rows = tuple(_backup_row(item) for item in report.backups)
    yield Section("Backups in storage", columns, rows, "There is no backup.")
    runs = [
        (
            item.id,
            item.host,
            _time(item.started),
            item.outcome,
            ", ".join(item.requested),
            _errors(item.errors),
        )
        for item in report.failed_runs
    ]
    names = ("Run", "Host", "Started", "Outcome", "Requested", "Failed")
    yield _section("Runs that did not end completely", names, runs, "Every run ended completely.")


def _part_row(item: PartFacts, now: datetime) -> tuple[Cell, ...]:
    late = item.max_age_seconds is not None and (
        item.data_from is None or (now - item.data_from).total_seconds() > item.max_age_seconds
    )
    age = _duration(now - item.data_from) if item.data_from else "none"
    return (
        Cell(printable(str(item.part))),
        Cell(str(item.copies)),
        Cell(_time(item.data_from)),
        Cell(age, "bad" if late else ""),
        Cell(_seconds(item.longest_seconds)),
        Cell(str(len(item.gaps)), "bad" if item.gaps else ""),
        Cell(_time(item.verified)),
        Cell(_time(item.drilled)),
        Cell(_seconds(item.recovery_seconds)),
    )


def _check_row(item: CheckFacts) -> tuple[Cell, ...]:
    passed = "restored" if item.depth == DRILLED else "passed"
    result = Cell(f"{count_in_words(item.damaged, 'object')} damaged", "bad")
    if not item.damaged:
        result = Cell(passed, "good") if item.counts else Cell("not signed by a trusted key", "bad")
    return (
        Cell(item.backup),
        Cell(item.depth),
        Cell(_time(item.started)),
        Cell(_seconds(item.seconds)),
        Cell(printable(", ".join(item.parts)) or "all"),
        Cell(f"{item.read} of {item.objects} ({size_in_words(item.bytes)})"),
        result,
    )


def _backup_row(item: BackupFacts) -> tuple[Cell, ...]:
    if item.encrypted is None:
        state = Cell(f"its manifest cannot be read: {printable(item.problem)}", "bad")
        return (Cell(item.id), *[Cell("")] * 6, state)
    problems = [f"{copy.name}: {copy.state}" for copy in item.copies if copy.state != COMPLETE]
    problems += [f"{copy.name}: {', '.join(copy.unfit)}" for copy in item.copies if copy.unfit]
    contents = ", ".join(f"{copy.kind} {copy.name} ({size_in_words(copy.bytes)})" for copy in item.copies)
    return (
        Cell(item.id),
        Cell(printable(item.host)),
        Cell(printable(contents)),
        Cell(size_in_words(item.stored_bytes or 0)),
        Cell(_seconds(item.seconds)),
        Cell("yes") if item.encrypted else Cell("no", "bad"),
        Cell(printable(item.signer) or "nobody"),
        Cell(printable("; ".join(problems)), "bad") if problems else Cell("complete", "good"),
    )


def _policy(report: AuditReport) -> Iterator[tuple[str, str]]:
    policy = report.policy
    for name, number in policy.retention.items():
        if number:
            yield f"Keep: {name}", _seconds(number) if name == "within" else str(number)
    for item in report.parts:
        yield f"Oldest allowed copy of {item.part}", _seconds(item.max_age_seconds, "any age")
    yield "Oldest allowed verification", _seconds(policy.verified_seconds, "any age")
    yield "Oldest allowed drill", _seconds(policy.drilled_seconds, "any age")
    yield "Encryption", "yes" if policy.encrypted else "no"
    yield "Signatures required", "yes" if policy.signatures_required else "no"
    yield "Locked in storage", f"{policy.locked_days} days" if policy.locked_days is not None else "no"


def _section(title: str, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]], none: str) -> Section:
    cells = tuple(tuple(Cell(printable(text)) for text in row) for row in rows)
    return Section(title, columns, cells, none)


def _errors(errors: dict[str, str]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in errors.items())


def _time(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else "never"


def _seconds(seconds: int | None, none: str = "not measured") -> str:
    return none if seconds is None else _duration(timedelta(seconds=seconds))


def _duration(duration: timedelta) -> str:
    return time_taken(duration) if duration < timedelta(minutes=1) else duration_in_words(duration, units=2)
