"""What a database answered when it was dumped, kept, and asked again of what is restored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from igny8_backup.databases.engine import Engine
from igny8_backup.databases.values import COUNTED_TO, Answers, Row
from igny8_backup.errors import DatabaseError, IntegrityError
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.operations.context import BackupContext

_SHOWN = 5


def with_answers(details: DatabaseDetails, answers: Answers) -> DatabaseDetails:
    return replace(
        details,
        snapshot=answers.snapshot,
        counted_to=COUNTED_TO if answers.row_counts else 0,
        row_counts=answers.row_counts,
        probes=answers.probes,
    )


def without_answers(details: DatabaseDetails) -> DatabaseDetails:
    return replace(details, row_counts={}, probes=())


def unanswered(answers: Answers) -> DatabaseError:
    """The probes that could not be answered; the dump is none the worse for it."""
    reasons = {**answers.failed, **dict.fromkeys(answers.denied, "permission denied.")}
    listed = "; ".join(f"{name!r}: {reason}" for name, reason in reasons.items())
    return DatabaseError(
        f"Probes were not answered: {listed}",
        unchanged="The database itself is in the backup.",
        hint="Correct IGNY8_BACKUP['PROBES'].",
    )


def check_answers(
    context: BackupContext, engine: Engine, name: str, details: DatabaseDetails, tables: Sequence[str] = ()
) -> None:
    """Asks the restored database ``name`` again. Raises :class:`IntegrityError` where an answer differs from
    that of the backup, or a probe has none any more.

    Rows of ``tables`` alone where there are any. What this role may not count is noted. A backup that has no
    answers passes.
    """
    found = engine.answers(name, details, tables)
    wrong = [f"the probe {probe!r} cannot be asked: {reason}" for probe, reason in found.failed.items()]
    then = {probe.name: probe.rows for probe in details.probes}
    wrong += [
        f"the probe {probe.name!r} was {_said(then[probe.name])}, and is now {_said(probe.rows)}"
        for probe in found.probes
        if probe.rows != then[probe.name]
    ]
    wrong += [
        f"{table} had {_number(details.row_counts[table], details)}, and has now {_number(count, details)}"
        for table, count in found.row_counts.items()
        if count != details.row_counts[table]
    ]
    if wrong:
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise IntegrityError(
            f"The restored database {engine.alias!r} is not the one that was dumped:"
            f" {'; '.join(wrong[:_SHOWN])}{more}.",
            unchanged="The live database is as it was.",
            hint="Choose another backup: list_backups.",
        )
    uncounted = [table for table in details.row_counts if not tables and table not in found.row_counts]
    if unasked := [f"the rows of {', '.join(uncounted[:_SHOWN])}"] * bool(uncounted) + list(found.denied):
        context.progress.note(
            f"{engine.alias}: this role may not ask for {', '.join(unasked)}: not compared."
        )


def _said(rows: Sequence[Row]) -> str:
    def text(row: Row) -> str:
        return ", ".join("NULL" if value is None else value for value in row)

    return " / ".join(map(text, rows)) or "no row"


def _number(count: int, details: DatabaseDetails) -> str:
    if count > details.counted_to:
        return f"more than {details.counted_to} rows"
    return f"{count} row{'' if count == 1 else 's'}"
