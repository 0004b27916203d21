"""Load a dump into a staging database (not live yet) and compare the result with the backup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from igny8_backup.common.memory import release_free_memory
from igny8_backup.databases.capabilities import Capability
from igny8_backup.databases.engine import Engine
from igny8_backup.databases.values import WHOLE, RestoreSelection
from igny8_backup.errors import damaged_backup
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.read.dump import open_archives, open_undamaged
from igny8_backup.operations.staging.probe_checks import check_answers
from igny8_backup.streams.age import Identity

UNFILLED = "MATERIALIZED VIEW DATA "
"""Prefix of the descriptions that :func:`load_staging` returns for materialized views that are left empty."""


def load_staging(
    context: BackupContext,
    engine: Engine,
    staging: str,
    part: DatabasePart,
    details: DatabaseDetails,
    identities: list[Identity],
    *,
    selection: RestoreSelection = WHOLE,
    analyze: bool = True,
    will_be_live: bool = False,
) -> tuple[str, ...]:
    """Load the dump of ``part`` into the empty database ``staging``; compare the result with ``details``.

    ``selection`` limits what is loaded. ``analyze``: collect the planner's statistics at the end.
    ``will_be_live``: also copy the security labels of the database, and raise an error if its settings cannot
    be copied. Without ``will_be_live``, that error is only recorded in ``context.shortfalls``. Returns
    descriptions of the objects in the dump that were not restored. Raises ``IntegrityError`` if the result
    differs from the backup.
    """
    with context.observe(f"database {part.alias}") as observer:
        observer.begin(part.bytes)
        # Stalls are reported only until the last byte is read. Afterwards pg_restore may work for hours.
        lost = selection.lost
        streams = [
            observer.monitor(blocks, source="the storage", sink="pg_restore")
            for blocks in (
                open_undamaged(context, part, identities, lost)
                if lost.packs
                else open_archives(context, part, identities)
            )
        ]
        jobs = engine.choose_jobs(staging, context.config.jobs, details.size)
        if jobs > 1:
            context.progress.note(
                f"{part.alias}: up to {jobs} connections work at the same time (the setting JOBS)."
            )
        if len(streams) > 1:
            unchanged, hint = "Nothing live was changed.", "Choose another backup."
            engine.require(Capability.ARCHIVES, unchanged=unchanged, hint=hint)
            left_out = engine.load_archives(staging, streams, jobs=jobs, selection=selection)
        else:
            left_out = engine.load(staging, streams[0], jobs=jobs, selection=selection)
        release_free_memory()  # the child process that migrates needs as much
        if analyze:
            collect_statistics(context, engine, staging, jobs)
    if not selection.tables:
        what = f"The privileges of schemas in {part.alias!r} were not restored"
        with context.shortfalls.helper_step(part.alias, "privileges", what):
            engine.restore_schemas(staging, details)
    missing = sorted(set(selection.tables or details.tables) - set(engine.tables(staging)))
    if missing:
        raise damaged_backup(
            f"The restored database {part.alias!r} lacks tables of the backup: {', '.join(missing[:5])}."
        )
    # Probes and migrations may find their tables only with the search path of the database.
    if will_be_live:
        engine.copy_settings(staging, details)
    else:
        what = f"{part.alias!r} was restored without all of its settings"
        with context.shortfalls.helper_step(part.alias, "settings", what):
            engine.copy_settings(staging, details)
    if will_be_live:
        what = f"The security labels of the database {part.alias!r} were not restored"
        with context.shortfalls.helper_step(part.alias, "security labels", what):
            engine.copy_labels(staging, details)
    if not lost.packs:
        check_answers(context, engine, staging, details, selection.tables)
    elif whole := sorted({*(selection.tables or details.tables)} - {*lost.tables}):
        check_answers(context, engine, staging, details, whole)
    return left_out


def collect_statistics(context: BackupContext, engine: Engine, name: str, jobs: int = 1) -> None:
    """Collect the planner's statistics in the database ``name``, over at most ``jobs`` connections.

    A failure is recorded in ``context.shortfalls``, not raised.
    """
    what = f"The planner's statistics of {engine.alias!r} were not collected"
    with context.shortfalls.helper_step(engine.alias, "statistics", what):
        note_unanalyzed(context, engine.alias, engine.analyze(name, jobs))


def note_unanalyzed(context: BackupContext, alias: str, failed: Mapping[str, str]) -> None:
    """Record in ``context.shortfalls`` the tables whose statistics for the planner could not be collected.

    ``failed`` maps each of these tables to the reason.
    """
    for table, reason in failed.items():
        text = f"The planner's statistics of {table} were not collected: {reason}"
        hint = f"When the cause is removed, run: ANALYZE {table};"
        context.shortfalls.add(alias, "statistics", f"{text} {hint}")


def add_unfilled_views(
    context: BackupContext, alias: str, left_out: Sequence[str], *, lost_rows: bool = False
) -> None:
    """Record in ``context.shortfalls`` the materialized views that a restore has left empty.

    ``left_out`` describes the objects of the dump that were not restored. Other objects than these views are
    ignored. ``lost_rows``: some tables were restored without their rows, which such a view may read.
    """
    views = [label.removeprefix(UNFILLED) for label in left_out if label.startswith(UNFILLED)]
    if views:
        read = "tables without their rows, or foreign tables," if lost_rows else "foreign tables"
        text = f"{alias}: these materialized views read {read} and are empty: {', '.join(views)}."
        hint = "After the restore, fill each with REFRESH MATERIALIZED VIEW."
        context.shortfalls.add(alias, "materialized views", f"{text} {hint}")
