"""Compare row counts and probe results of a restored database with those recorded in the backup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from igny8_backup.common.humanize import count_in_words
from igny8_backup.databases.engine import Engine
from igny8_backup.databases.values import COUNTED_TO, Answers, Row
from igny8_backup.errors import DatabaseError, damaged_backup
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.staging.access_checks import access_differences

_SHOWN = 5


def with_answers(details: DatabaseDetails, answers: Answers) -> DatabaseDetails:
    """Return a copy of ``details`` with the tables, counts, probe results and privileges of ``answers``."""
    return replace(
        details,
        tables=details.tables if answers.tables is None else answers.tables,
        snapshot=answers.snapshot,
        counted_to=COUNTED_TO if answers.row_counts else 0,
        row_counts=answers.row_counts,
        probes=answers.probes,
        schemas=answers.schemas,
        access=answers.access,
    )


def without_answers(details: DatabaseDetails) -> DatabaseDetails:
    """Return a copy of ``details`` without row counts, probe results and the privileges on objects."""
    return replace(details, row_counts={}, probes=(), access=None)


def uncounted_text(answers: Answers) -> str:
    """Return a sentence about the tables that could not be counted; empty if there are none."""
    if not answers.uncounted:
        return ""
    table, reason = next(iter(answers.uncounted.items()))
    others = len(answers.uncounted) - 1
    more = f" and {count_in_words(others, 'other table')}" if others else ""
    return f"The rows of {table}{more} were not counted: {reason}"


def unanswered(answers: Answers) -> DatabaseError | None:
    """Return an error that names the probes (queries in the settings) that failed, or None."""
    reasons = {**answers.failed, **answers.unasked, **dict.fromkeys(answers.denied, "permission denied.")}
    if not reasons:
        return None
    listed = "; ".join(f"{name!r}: {reason}" for name, reason in reasons.items())
    what = f"Probes failed: {listed}"
    hint = "Correct IGNY8_BACKUP['PROBES']."
    return DatabaseError(what, unchanged="The database itself is in the backup.", hint=hint)


def check_answers(
    context: BackupContext, engine: Engine, name: str, details: DatabaseDetails, tables: Sequence[str] = ()
) -> None:
    """Count rows and run probes in the restored database ``name``; compare the results with the backup.

    Probes are queries in the settings. ``tables``: count the rows of these tables only. Tables that this role
    may not read are noted. If a comparison fails for a reason outside the database, that is recorded in
    ``context.shortfalls``. Results that the backup does not contain are not compared. Raises
    :class:`IntegrityError` if a result differs or a probe fails.
    """
    alias = engine.alias
    found: Answers | None = None
    with context.shortfalls.helper_step(alias, "comparison", f"The restored {alias!r} was not compared"):
        found = engine.answers(name, details, tables)
    if found is None:
        return
    if text := uncounted_text(found):
        context.shortfalls.add(
            alias, "comparison", f"The restored {alias!r} was not compared completely. {text}"
        )
    for probe, reason in found.unasked.items():
        text = f"The probe {probe!r} was not compared in the restored {alias!r}: {reason}"
        context.shortfalls.add(alias, "comparison", text)
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
            f"The restored database {alias!r} differs from the one that was dumped:"
            f" {'; '.join(wrong[:_SHOWN])}{more}."
        )
    counted = {**found.row_counts, **found.uncounted}
    hidden = [table for table in details.row_counts if not tables and table not in counted]
    denied = [f"the rows of {', '.join(hidden[:_SHOWN])}"] * bool(hidden) + list(found.denied)
    if denied:
        context.progress.note(
            f"{alias}: not compared with the backup, because this role may not read it: {', '.join(denied)}."
        )
    if differences := access_differences(details, found):
        context.shortfalls.add(alias, "comparison", f"{alias}: {differences}")


def check_access(context: BackupContext, engine: Engine, name: str, details: DatabaseDetails) -> None:
    """Compare the owners and privileges in the database ``name`` with ``details``.

    Differences are recorded in ``context.shortfalls``. Rows are not counted, and no probes are run.
    """
    alias = engine.alias
    what = f"The privileges in the restored {alias!r} were not compared"
    with context.shortfalls.helper_step(alias, "comparison", what):
        found = engine.answers(name, replace(details, row_counts={}, probes=()))
        if differences := access_differences(details, found):
            context.shortfalls.add(alias, "comparison", f"{alias}: {differences}")


def _rows_as_text(rows: Sequence[Row]) -> str:
    def text(row: Row) -> str:
        return ", ".join("NULL" if value is None else value for value in row)

    return " / ".join(map(text, rows)) or "no row"


def _count_text(count: int, details: DatabaseDetails) -> str:
    if count > details.counted_to:
        return f"more than {details.counted_to} rows"
    return f"{count} row{'' if count == 1 else 's'}"
