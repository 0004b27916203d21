"""Compare row counts and probe results of a restored database with those recorded in the backup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from igny8_backup.databases.engine import Engine
from igny8_backup.databases.values import COUNTED_TO, Answers, Row
from igny8_backup.errors import DatabaseError, damaged_backup
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.operations.context import BackupContext

_SHOWN = 5


def with_answers(details: DatabaseDetails, answers: Answers) -> DatabaseDetails:
    """Return a copy of ``details`` that holds the row counts and probe results of ``answers``."""
    return replace(
        details,
        snapshot=answers.snapshot,
        counted_to=COUNTED_TO if answers.row_counts else 0,
        row_counts=answers.row_counts,
        probes=answers.probes,
    )


def without_answers(details: DatabaseDetails) -> DatabaseDetails:
    """Return a copy of ``details`` without row counts and probe results."""
    return replace(details, row_counts={}, probes=())


def unanswered(answers: Answers) -> DatabaseError:
    """Return an error about the probes (queries in the settings) that failed after a complete dump."""
    reasons = {**answers.failed, **dict.fromkeys(answers.denied, "permission denied.")}
    listed = "; ".join(f"{name!r}: {reason}" for name, reason in reasons.items())
    what = f"Probes failed: {listed}"
    hint = "Correct IGNY8_BACKUP['PROBES']."
    return DatabaseError(what, unchanged="The database itself is in the backup.", hint=hint)


def check_answers(
    context: BackupContext, engine: Engine, name: str, details: DatabaseDetails, tables: Sequence[str] = ()
) -> None:
    """Count rows and run probes in the restored database ``name``; compare the results with the backup.

    ``tables``: count the rows of these tables only. Tables that this role may not read are noted. A backup
    without recorded results passes. Raises :class:`IntegrityError` if a result differs or a probe fails.
    """
    found = engine.answers(name, details, tables)
    wrong = [f"the probe {probe!r} fails: {reason}" for probe, reason in found.failed.items()]
    then = {probe.name: probe.rows for probe in details.probes}
    wrong += [
        f"the probe {probe.name!r} returned {_rows_as_text(then[probe.name])}, and now returns"
        f" {_rows_as_text(probe.rows)}"
        for probe in found.probes
        if probe.rows != then[probe.name]
    ]
    wrong += [
        f"{table} had {_count_text(details.row_counts[table], details)}, and now has"
        f" {_count_text(count, details)}"
        for table, count in found.row_counts.items()
        if count != details.row_counts[table]
    ]
    if wrong:
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise damaged_backup(
            f"The restored database {engine.alias!r} differs from the one that was dumped:"
            f" {'; '.join(wrong[:_SHOWN])}{more}."
        )
    uncounted = [table for table in details.row_counts if not tables and table not in found.row_counts]
    denied = [f"the rows of {', '.join(uncounted[:_SHOWN])}"] * bool(uncounted) + list(found.denied)
    if denied:
        context.progress.note(
            f"{engine.alias}: not compared, because this role may not read it: {', '.join(denied)}."
        )


def _rows_as_text(rows: Sequence[Row]) -> str:
    def text(row: Row) -> str:
        return ", ".join("NULL" if value is None else value for value in row)

    return " / ".join(map(text, rows)) or "no row"


def _count_text(count: int, details: DatabaseDetails) -> str:
    if count > details.counted_to:
        return f"more than {details.counted_to} rows"
    return f"{count} row{'' if count == 1 else 's'}"
